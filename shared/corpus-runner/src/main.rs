//! Prints the corpus' outcome of the native build.

fn main() {
    println!("{}", corpus_runner::run_corpus());
}
