//! Writes the seeds: `cargo run --example seeds` inside `fuzz/`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for seed in ipsec_fuzz::seeds::all() {
        std::fs::create_dir_all(folder.join(seed.target))?;
        std::fs::write(folder.join(seed.target).join(seed.name), seed.bytes)?;
    }
    Ok(())
}
