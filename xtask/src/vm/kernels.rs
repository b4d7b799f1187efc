//! Debian's kernels: where they come from, and the modules that tests need of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    architecture::Architecture,
    hardware::{Hardware, parameters},
};
use crate::{
    command::{read, run},
    debian::Apt,
};

/// A kernel by the name that the command line has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Its release, or what stands for it.
    pub name: &'static str,
    /// The suite of Debian that carries it.
    suite: &'static str,
}

/// One for each stable release that is in use, and the newest there is.
pub const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", suite: "bullseye" },
    Kernel { name: "6.1", suite: "bookworm" },
    Kernel { name: "6.12", suite: "trixie" },
    Kernel { name: "newest", suite: "trixie-backports" },
];

/// What its name begins with, whichever way Debian splits it into packages.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// What some kernels have built in. The newest ones' packages have no list of such modules; without the
/// driver, tests do not find their device, and without a cipher, stations do not associate.
const MAYBE_BUILT_IN: [&str; 5] = ["virtio_pci", "aes_generic", "ctr", "ccm", "cmac"];

/// An unpacked kernel.
#[derive(Debug)]
pub struct Unpacked {
    /// What the machine boots.
    pub image: PathBuf,
    /// The release, as `uname -r` tells it.
    pub release: String,
    modules: PathBuf,
}

impl Kernel {
    /// Takes it from Debian for this processor and hardware, unless `directory` has it from an earlier run.
    ///
    /// # Errors
    /// The machine's apt has no Debian source, or the packages are not as expected.
    pub fn unpack(
        &self,
        architecture: Architecture,
        hardware: Hardware,
        directory: &Path,
    ) -> Result<Unpacked> {
        let tree = directory.join(format!("{}-{hardware}", self.name));
        if !tree.is_dir() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create '{}'", directory.display()))?;
            let scratch = tempfile::tempdir_in(directory)
                .with_context(|| format!("cannot write in '{}'", directory.display()))?;
            let apt = Apt::new(scratch.path(), self.suite, Some(architecture.debian()))?;
            // It depends on the suite's newest kernel of that kind.
            let package = format!("{}{}", hardware.kernel_package(), architecture.debian());
            let mut packages = apt.needed_by(&package)?;
            packages.retain(|name| is_part(name));
            let unpacked = scratch.path().join("unpacked");
            apt.unpack(&packages, &unpacked)?;
            // Last of all: what bears the name is whole.
            fs::rename(&unpacked, &tree).with_context(|| format!("cannot make '{}'", tree.display()))?;
        }
        Unpacked::find(&tree)
    }
}

/// Whether this package is of the kernel, and not one that names another.
fn is_part(package: &str) -> bool {
    PARTS.iter().any(|part| {
        package.strip_prefix(part).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

impl Unpacked {
    fn find(tree: &Path) -> Result<Self> {
        // `modprobe` and `depmod` look below `lib` alone.
        let (lib, usr) = (tree.join("lib"), tree.join("usr/lib"));
        if !lib.exists() {
            std::os::unix::fs::symlink("usr/lib", &lib)
                .with_context(|| format!("cannot link '{}' to '{}'", lib.display(), usr.display()))?;
        }
        let release = only_entry(&lib.join("modules"))?;
        let image =
            [tree.join(format!("boot/vmlinuz-{release}")), lib.join(format!("modules/{release}/vmlinuz"))]
                .into_iter()
                .find(|image| image.is_file())
                .with_context(|| format!("there is no kernel image in '{}'", tree.display()))?;
        run(Command::new("depmod").arg("--basedir").args([tree, Path::new(&release)]))?;
        Ok(Self { image, release, modules: tree.to_owned() })
    }

    /// Puts the modules for this hardware into the file system that is to be the machine's, and a list of them
    /// in the order of loading, each with its parameters.
    ///
    /// # Errors
    /// The kernel lacks one.
    pub fn put_modules(&self, hardware: Hardware, tree: &Path) -> Result<()> {
        let directory = tree.join("guest/modules");
        fs::create_dir_all(&directory).with_context(|| format!("cannot create '{}'", directory.display()))?;
        let mut files: Vec<PathBuf> = Vec::new();
        for module in hardware.modules() {
            let mut show = Command::new("modprobe");
            show.arg("--dirname").arg(&self.modules).args(["--set-version", &self.release]);
            let said = match read(show.args(["--show-depends", module])) {
                Err(_) if MAYBE_BUILT_IN.contains(&module) => continue,
                said => said.with_context(|| format!("kernel {} has no module {module}", self.release))?,
            };
            for file in inserted(&said) {
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        let mut list = String::new();
        for file in &files {
            let module = put_module(file, &directory)?;
            list += &format!("{module} {}\n", parameters(&module));
        }
        fs::write(tree.join("guest/module-list"), list).context("cannot write the list of modules")
    }
}

/// The files in the output of `modprobe --show-depends`; what is built in has none.
fn inserted(said: &str) -> Vec<PathBuf> {
    said.lines()
        .filter_map(|line| line.strip_prefix("insmod "))
        .filter_map(|file| file.split_whitespace().next())
        .map(PathBuf::from)
        .collect()
}

/// Puts one module there, uncompressed: not every kernel unpacks them itself. Gives its name.
fn put_module(file: &Path, directory: &Path) -> Result<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let (stem, compressed) = name.strip_suffix(".xz").map_or((&*name, false), |stem| (stem, true));
    let module = stem.strip_suffix(".ko").unwrap_or(stem);
    let target = directory.join(module);
    let content = if compressed {
        let unpacked = Command::new("xz").args(["--decompress", "--stdout"]).arg(file).output();
        unpacked.context("cannot run 'xz'")?.stdout
    } else {
        fs::read(file).with_context(|| format!("cannot read '{}'", file.display()))?
    };
    fs::write(&target, content).with_context(|| format!("cannot write '{}'", target.display()))?;
    Ok(module.to_owned())
}

fn only_entry(directory: &Path) -> Result<String> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list '{}'", directory.display()))?;
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.next().with_context(|| format!("there is nothing in '{}'", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_kernel_are_told_from_packages_that_name_it() {
        assert!(is_part("linux-image-5.10.0-32-cloud-amd64"));
        assert!(is_part("linux-modules-7.3.4+deb13-cloud-amd64"));
        assert!(!is_part("linux-image-cloud-amd64"));
        assert!(!is_part("linux-base"));
    }

    #[test]
    fn modules_come_after_those_they_need() {
        let said = "insmod /m/stp.ko.xz \nbuiltin llc\ninsmod /m/bridge.ko.xz \n";
        assert_eq!(inserted(said), ["/m/stp.ko.xz", "/m/bridge.ko.xz"].map(PathBuf::from));
    }
}
