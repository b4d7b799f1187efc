//! The plugin as a program.

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

/// What the plugin is called in configurations and in the directories of plugins.
pub const NAME: &str = "macvlan-cni";

const ABOUT: &str = concat!(
    "macvlan-cni ",
    env!("CARGO_PKG_VERSION"),
    ": a CNI plugin; container runtimes run it with CNI_COMMAND set\n",
    "CNI versions: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
);

/// Whether this process was started by the plugin's name.
pub fn is_called() -> bool {
    let called = env::args_os().next();
    called.is_some_and(|path| Path::new(&path).file_name().is_some_and(|name| name == NAME))
}

/// Does what a runtime asks for by variables and standard input.
pub fn main() -> ExitCode {
    if env::var_os("CNI_COMMAND").is_none() {
        eprintln!("{ABOUT}");
        return ExitCode::FAILURE;
    }
    let var = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let (answer, code) = match super::serve(var, io::stdin()) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(error) => (Some(error), ExitCode::FAILURE),
    };
    let Some(answer) = answer else { return code };
    // In one write: formatting would make a hundred.
    match io::stdout().write_all(format!("{answer:#}\n").as_bytes()) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("{NAME}: cannot write the answer: {error}");
            ExitCode::FAILURE
        }
    }
}
