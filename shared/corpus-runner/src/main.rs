//! Prints the corpus' outcome of the native build; with the argument `sample`, what the corpus is judged by.

fn main() {
    if std::env::args().nth(1).as_deref() == Some("sample") {
        println!("{}", corpus_runner::sample());
    } else {
        println!("{}", corpus_runner::run_corpus());
    }
}
