//! The configuration file: masters, the children to make on them, and who may talk to the host.
//!
//! The text is read as TOML with the place of every key and value (`reader.rs`), so that each
//! mistake is told with its line. Values go through the parsers of the command line.

pub mod master;
mod policy;
mod reader;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap, fs::OpenOptions, io::Read as _, net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _, path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    config::{
        master::{FirstMentions, read_master},
        reader::{Fields, Source, twice},
    },
    kernel::errno::errno,
    model::{master_name::MasterName, parse::parse_listener},
};

pub use crate::{
    config::master::MasterConfig,
    policy::{
        glob::Glob,
        rules::{Policies, Rule, Subject},
    },
};

/// Largest file that is read, in bytes: ten thousand children need less.
pub const LARGEST: u64 = 1 << 20;

/// What a configuration file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Where `run` serves Prometheus metrics.
    pub metrics: Option<SocketAddr>,
    /// Whether `run` takes the data path off when it is stopped.
    pub detach_on_exit: bool,
    /// The masters, in the order of the file.
    pub masters: Vec<MasterConfig>,
}

/// Keys outside any table.
const KEYS: &[&str] = &["metrics", "detach-on-exit", "master"];

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or says something that cannot be: `FILE:LINE: what is wrong`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path).with_context(|| format!("cannot read configuration {path:?}"))?;
        let text = match str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
                bail!("{}:{line}: this is not UTF-8 text", path.display());
            }
        };
        Self::parse(text, path)
    }

    /// Reads `text`, which errors say comes from the file at `path`.
    ///
    /// # Errors
    ///
    /// When it says something that cannot be: `FILE:LINE: what is wrong`.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let source = Source::new(path, text);
        let mut fields = Fields::of_document(&source, KEYS)?;
        let mut config = Self {
            metrics: fields.text("metrics", parse_listener)?,
            detach_on_exit: fields.boolean("detach-on-exit")?.unwrap_or_default(),
            masters: Vec::new(),
        };
        let mut names: BTreeMap<MasterName, usize> = BTreeMap::new();
        let mut mentions = FirstMentions::default();
        for fields in fields.tables("master")? {
            let at = fields.at();
            let master = read_master(fields, &mut mentions)?;
            if let Some(first) = names.insert(master.name.clone(), at) {
                let first = source.line(first);
                return Err(source.error(at, twice("master", &master.name, first)));
            }
            config.masters.push(master);
        }
        Ok(config)
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    // A pipe that nobody writes to would keep us waiting.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| anyhow!("{}", errno(&error)))?;
    if !file.metadata()?.is_file() {
        bail!("it is not a regular file");
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| anyhow!("{}", errno(&error)))?;
    if bytes.len() as u64 > LARGEST {
        bail!("it is larger than {LARGEST} bytes");
    }
    Ok(bytes)
}
