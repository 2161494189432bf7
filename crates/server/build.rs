//! Lists the files of `page/` with their bytes, so that the crate carries whatever lies there.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=page");
    let need = |name: &str| env::var_os(name).ok_or_else(|| io::Error::other(name.to_owned()));
    let page = Path::new(&need("CARGO_MANIFEST_DIR")?).join("page");
    let mut files = Vec::new();
    walk(&page, &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&page).map_err(io::Error::other)?;
        let name = name.to_string_lossy().replace('\\', "/");
        // Where the crate lies when it is compiled: its folder may have moved since this ran.
        let path = format!(
            "concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?})",
            format!("/page/{name}")
        );
        list += &format!("    ({name:?}, include_bytes!({path})),\n");
    }
    list += "]\n";
    fs::write(Path::new(&need("OUT_DIR")?).join("page.rs"), list)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => walk(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}
