//! `macvlan-cni`: the CNI plugin. Runtimes speak to it by variables and standard input.

use std::process::ExitCode;

fn main() -> ExitCode {
    macvlan_cni::program::main()
}
