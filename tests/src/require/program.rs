//! Programs that a test runs.

use std::{env, fs, path::Path};

/// A program on the path.
///
/// # Errors
///
/// It is not installed.
pub fn program(name: &str) -> Result<(), String> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&paths)
        .chain([Path::new("/usr/sbin").into(), Path::new("/sbin").into()])
        .any(|dir| fs::metadata(dir.join(name)).is_ok_and(|file| file.is_file()));
    if found { Ok(()) } else { Err(format!("no `{name}` on the path")) }
}
