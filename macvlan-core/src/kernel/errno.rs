//! The kernel's errors in words.

use std::io;

/// An I/O error as users of `ip` know it: the text without "(os error N)".
pub fn errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}
