//! Link arguments: where the image begins, and relocations kept, so that the check sees each address taken.
fn main() {
    println!("cargo:rustc-link-arg-bins=--entry=main");
    println!("cargo:rustc-link-arg-bins=--emit-relocs");
    println!("cargo:rerun-if-changed=build.rs");
}
