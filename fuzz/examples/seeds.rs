//! Writes the seeds of every target to its corpus, each under the name of its CRC-32. What is there stays.

use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut written = 0;
    for seed in timbermq_fuzz::seeds::all()? {
        let dir = corpus.join(seed.target);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(format!("seed-{:08x}", crc32fast::hash(&seed.input))), &seed.input)?;
        written += 1;
    }
    println!("{written} seeds in {}", corpus.display());
    Ok(())
}
