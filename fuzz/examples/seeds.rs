//! Writes the first inputs of every target into `FOLDER/TARGET`.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).map(PathBuf::from).ok_or("usage: seeds FOLDER")?;
    for (index, (target, bytes)) in gateward_fuzz::seeds::all().into_iter().enumerate() {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{index:04}")), bytes)?;
    }
    Ok(())
}
