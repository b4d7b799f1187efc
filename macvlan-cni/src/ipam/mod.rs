//! Another plugin that manages addresses, found and run as the specification says ("Delegation").

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io::{self, Read as _, Write as _, pipe},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use macvlan_core::kernel::lock::Lock;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    error::{CniError, CniResult, code},
    request::{Invocation, MOST_INPUT, Target, Verb, is_name},
    result::AddResult,
    version::Version,
};

/// A plugin that manages addresses.
#[derive(Debug)]
pub struct Ipam<'a> {
    name: &'a str,
    program: PathBuf,
    path: OsString,
    args: &'a str,
    input: &'a [u8],
    attachment: Option<&'a Lock>,
}

impl<'a> Ipam<'a> {
    /// The plugin of this name in the directories of `CNI_PATH`. It holds the lock of the attachment too:
    /// should this process be killed, the DEL that clears what was begun waits for the plugin's end. To kill
    /// it along would leave it with half of its books.
    ///
    /// # Errors
    ///
    /// Code 7 when the name is a path, or there is no such program.
    pub fn find(name: &'a str, request: &'a Invocation, attachment: Option<&'a Lock>) -> CniResult<Self> {
        if !is_name(name) {
            return Err(CniError::new(code::INVALID_CONFIG, format!("IPAM plugin name {name:?} is invalid")));
        }
        let program = request.path.iter().map(|directory| directory.join(name)).find(|path| is_program(path));
        let program = program.ok_or_else(|| {
            CniError::new(code::INVALID_CONFIG, format!("no IPAM plugin {name:?} in CNI_PATH"))
        })?;
        let path = std::env::join_paths(&request.path).unwrap_or_default();
        Ok(Self { name, program, path, args: &request.args, input: &request.input, attachment })
    }

    /// Gives addresses to a container.
    ///
    /// # Errors
    ///
    /// The plugin's own, or that it answered something else than a result.
    pub fn add(&self, target: &Target) -> CniResult<AddResult> {
        self.start_add(target)?.result()
    }

    /// Begins to give addresses to a container: the plugin works meanwhile.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn start_add(&self, target: &Target) -> CniResult<Running<'_>> {
        self.start(Verb::Add, Some(target))
    }

    /// Runs another verb than ADD.
    ///
    /// # Errors
    ///
    /// The plugin's own.
    pub fn call(&self, verb: Verb, target: Option<&Target>) -> CniResult<()> {
        self.start(verb, target)?.end()
    }

    /// Begins another verb than ADD: the plugin works meanwhile.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn start(&self, verb: Verb, target: Option<&Target>) -> CniResult<Running<'_>> {
        Ok(Running {
            process: self.spawn(verb, target, self.input)?,
            ipam: self,
            verb,
            target: target.cloned(),
        })
    }

    /// Whether it keeps its books without a look at the device: it may then work while the device
    /// goes. `dhcp` on the other hand sends through it.
    pub fn needs_no_device(&self) -> bool {
        matches!(self.name, "host-local" | "static")
    }

    /// Whether it speaks a version. Older plugins know neither GC nor STATUS, and refuse them in ways
    /// of their own.
    pub fn speaks(&self, version: Version) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versions {
            supported_versions: Vec<String>,
        }
        let told = self.run_with(Verb::Version, None, self.input).ok();
        let told = told.and_then(|output| serde_json::from_slice::<Versions>(&output).ok());
        told.is_some_and(|told| told.supported_versions.iter().any(|one| one == version.as_str()))
    }

    fn run_with(&self, verb: Verb, target: Option<&Target>, input: &[u8]) -> CniResult<Vec<u8>> {
        self.output(self.spawn(verb, target, input)?)
    }

    fn spawn(&self, verb: Verb, target: Option<&Target>, input: &[u8]) -> CniResult<Process> {
        let mut command = Command::new(&self.program);
        command.env("CNI_COMMAND", verb.as_str()).env("CNI_PATH", &self.path).env("CNI_ARGS", self.args);
        for name in ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"] {
            command.env_remove(name);
        }
        if let Some(target) = target {
            command.env("CNI_CONTAINERID", &target.container).env("CNI_IFNAME", target.ifname.as_str());
            command.env("CNI_NETNS", target.netns.as_deref().unwrap_or(Path::new("")));
        }
        if let Some(lock) = self.attachment {
            lock.share_with(&mut command);
        }
        let (reader, mut writer) = pipe().map_err(|error| self.failed("make a pipe to", error))?;
        command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut feeder = None;
        if input.len() <= PIPE {
            writer.write_all(input).map_err(|error| self.failed("write to", error))?;
            drop(writer);
        } else {
            let input = input.to_vec();
            // It may answer before it has read everything, and end without reading anything.
            feeder = Some(thread::spawn(move || drop(writer.write_all(&input))));
        }
        let child = command.spawn().map_err(|error| self.failed("run", error))?;
        Ok(Process { child, feeder })
    }

    fn output(&self, process: Process) -> CniResult<Vec<u8>> {
        let Process { mut child, feeder } = process;
        let mut output = Vec::new();
        let stdout = child.stdout.take();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(MOST_INPUT as u64).read_to_end(&mut output));
        let status = child.wait().map_err(|error| self.failed("wait for", error))?;
        if let Some(feeder) = feeder {
            feeder.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        }
        read.map_err(|error| self.failed("read from", error))?;
        if status.success() {
            return Ok(output);
        }
        Err(serde_json::from_slice::<CniError>(&output).unwrap_or_else(|_| {
            CniError::new(code::FAILED, format!("IPAM plugin {:?} failed: {status}", self.name))
                .with_details(String::from_utf8_lossy(&output).chars().take(512).collect::<String>())
        }))
    }

    fn failed(&self, what: &str, error: io::Error) -> CniError {
        CniError::new(code::IO_FAILURE, format!("cannot {what} IPAM plugin {:?}", self.name))
            .with_details(error)
    }
}

/// What a pipe holds without a reader, at least (`PIPE_DEF_BUFFERS` may be cut down to one page).
const PIPE: usize = 4096;

/// A plugin at work, and who writes its input where that is long.
struct Process {
    child: Child,
    feeder: Option<thread::JoinHandle<()>>,
}

/// A verb that a plugin is at work on.
#[must_use = "the plugin must be waited for"]
pub struct Running<'a> {
    ipam: &'a Ipam<'a>,
    verb: Verb,
    target: Option<Target>,
    process: Process,
}

impl Running<'_> {
    /// Waits for the addresses.
    ///
    /// # Errors
    ///
    /// The plugin's own, or that it answered something else than a result.
    pub fn result(self) -> CniResult<AddResult> {
        let name = self.ipam.name;
        AddResult::of_ipam(&self.output()?, name)
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// The plugin's own.
    pub fn end(self) -> CniResult<()> {
        self.output().map(drop)
    }

    /// One that does not speak the newest version is spoken to in the one before: requests and
    /// results are the same in both, but for attributes that nobody must have.
    fn output(self) -> CniResult<Vec<u8>> {
        let Self { ipam, verb, target, process } = self;
        let first = ipam.output(process);
        match (&first, in_version(ipam.input, Version::V1_1_0, Version::V1_0_0)) {
            (Err(error), Some(input)) if error.code == code::INCOMPATIBLE_VERSION => {
                ipam.run_with(verb, target.as_ref(), &input)
            }
            _ => first,
        }
    }
}

/// A configuration of one version in another; `None` when it is not of that version.
fn in_version(input: &[u8], from: Version, to: Version) -> Option<Vec<u8>> {
    let mut config: Map<String, Value> = serde_json::from_slice(input).ok()?;
    let (_, version) = config.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case("cniVersion"))?;
    if *version != from.as_str() {
        return None;
    }
    *version = to.as_str().into();
    serde_json::to_vec(&config).ok()
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
