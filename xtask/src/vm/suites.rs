//! What is run on every kernel.

use std::collections::BTreeSet;

use super::hardware::Hardware;

/// Some tests of one test program.
pub struct Suite {
    /// What it shows.
    pub name: &'static str,
    /// The test program.
    pub program: &'static str,
    /// Names of the tests contain one of these; all of them when there is none.
    pub filters: &'static [&'static str],
    /// What the machine has to have.
    pub hardware: Hardware,
    /// Only with `--all`: it takes minutes, and what differs between kernels is in the others too.
    pub long: bool,
    /// Kernels by name, and tests that ask something of them which they do not have.
    pub without: &'static [(&'static str, &'static str)],
}

/// What most are: all tests of a program, with network cards, within minutes.
const MOST: Suite =
    Suite { name: "", program: "", filters: &[], hardware: Hardware::Cards, long: false, without: &[] };

/// All of them.
pub const SUITES: [Suite; 15] = [
    Suite {
        name: "verifier",
        program: "programs",
        filters: &["every_program_loads", "every_case"],
        // Test runs of XDP programs take and tell of metadata since 5.15 (`xdp_convert_md_to_buff` in
        // net/bpf/test_run.c). Suite "masters" sends real frames through them.
        without: &[("5.10", "every_case_of_the_contract_holds_in_xdp")],
        ..MOST
    },
    Suite { name: "isolation", program: "traffic_relay", filters: &["stay_apart"], long: true, ..MOST },
    Suite { name: "masters", program: "masters", ..MOST },
    Suite {
        name: "strict",
        program: "strict",
        filters: &["a_socket", "nobody_honest", "goes_with", "cannot_be"],
        // Programs on functions of modules came with 5.11; the newest has another way.
        without: &[
            ("5.10", "a_socket"),
            ("5.10", "nobody_honest"),
            ("5.10", "goes_with"),
            ("newest", "cannot_be"),
        ],
        ..MOST
    },
    Suite {
        name: "strict steps",
        program: "strict",
        filters: &["after_every_step"],
        long: true,
        without: &[("5.10", "_")],
        ..MOST
    },
    Suite {
        name: "strict sockets",
        program: "strict_sockets",
        filters: &["no_packet_socket", "who_leaves", "what_has"],
        // At TC egress since 6.15.
        without: &[("5.10", "_"), ("6.1", "_"), ("6.12", "_")],
        ..MOST
    },
    Suite { name: "topology", program: "topology_vlan", ..MOST },
    Suite { name: "ladder", program: "missing", ..MOST },
    Suite { name: "shim", program: "shim", ..MOST },
    Suite { name: "rates", program: "guard_pace", ..MOST },
    Suite { name: "contenders", program: "contenders", ..MOST },
    Suite { name: "ports", program: "ports", filters: &["everybody_reaches", "changes_in_all"], ..MOST },
    Suite {
        name: "user space",
        program: "user_space",
        // The others need programs that the machine has no room for.
        filters: &["hand_over::", "hostile::", "plugin::", "server::it_ends", "server::what"],
        ..MOST
    },
    Suite { name: "contract", program: "traffic_matrix", long: true, ..MOST },
    Suite {
        name: "wifi",
        program: "wifi",
        hardware: Hardware::Radios,
        // runc starts no container there while the machine's root is in memory.
        without: &[("5.10", "docker")],
        ..MOST
    },
];

impl Suite {
    /// The line of the machine's list of programs that runs it on the kernel of this name.
    pub fn line(&self, kernel: &str) -> String {
        let mut words = vec![format!("/tests/{}", self.program), "--test-threads=2".to_owned()];
        words.extend(self.filters.iter().map(ToString::to_string));
        let lacking = self.without.iter().filter(|(lacks, _)| *lacks == kernel);
        words.extend(lacking.map(|(_, test)| format!("--skip={test}")));
        words.join(" ")
    }
}

/// The test programs of these suites.
pub fn programs(suites: &[&Suite]) -> BTreeSet<&'static str> {
    suites.iter().map(|suite| suite.program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_a_test_program_understands() {
        let suite =
            Suite { name: "n", program: "p", filters: &["a", "b"], without: &[("5.10", "c")], ..MOST };
        assert_eq!(suite.line("5.10"), "/tests/p --test-threads=2 a b --skip=c");
        assert_eq!(suite.line("6.1"), "/tests/p --test-threads=2 a b");
    }
}
