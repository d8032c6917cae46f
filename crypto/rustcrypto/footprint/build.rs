//! Link arguments: `flash` has no start-up code; `stack` has that of `cortex-m-rt`.
fn main() {
    println!("cargo:rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo:rustc-link-arg-bin=flash=--entry=main");
    println!("cargo:rustc-link-arg-bin=stack=-Tlink.x");
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-changed=build.rs");
}
