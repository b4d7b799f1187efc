//! `macvlan-cni`: the CNI plugin. Runtimes speak to it by variables and standard input.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use macvlan_ctl::cni;

const ABOUT: &str = concat!(
    "macvlan-cni ",
    env!("CARGO_PKG_VERSION"),
    ": a CNI plugin; container runtimes run it with CNI_COMMAND set\n",
    "CNI versions: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
);

fn main() -> ExitCode {
    if env::var_os("CNI_COMMAND").is_none() {
        eprintln!("{ABOUT}");
        return ExitCode::FAILURE;
    }
    let var = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let (answer, code) = match cni::serve(var, io::stdin()) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(error) => (Some(error), ExitCode::FAILURE),
    };
    let Some(answer) = answer else { return code };
    match writeln!(io::stdout(), "{answer:#}") {
        Ok(()) => code,
        Err(error) => {
            eprintln!("macvlan-cni: cannot write the answer: {error}");
            ExitCode::FAILURE
        }
    }
}
