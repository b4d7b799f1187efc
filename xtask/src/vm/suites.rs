//! What is run on every kernel.

use std::collections::BTreeSet;

/// Some tests of one test program.
pub struct Suite {
    /// What it shows.
    pub name: &'static str,
    /// The test program.
    pub program: &'static str,
    /// Names of the tests contain one of these; all of them when there is none.
    pub filters: &'static [&'static str],
    /// Tests left out: they show nothing that differs between kernels, or need what the machine lacks.
    pub without: &'static [&'static str],
}

/// All of them.
pub const SUITES: [Suite; 2] = [
    Suite {
        name: "verifier",
        program: "programs",
        filters: &["every_program_loads", "every_case"],
        without: &[],
    },
    Suite { name: "masters", program: "masters", filters: &[], without: &[] },
];

impl Suite {
    /// The line of the machine's list of programs that runs it.
    pub fn line(&self) -> String {
        let mut words = vec![format!("/tests/{}", self.program), "--test-threads=2".to_owned()];
        words.extend(self.filters.iter().map(ToString::to_string));
        words.extend(self.without.iter().map(|test| format!("--skip={test}")));
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
        let suite = Suite { name: "n", program: "p", filters: &["a", "b"], without: &["c"] };
        assert_eq!(suite.line(), "/tests/p --test-threads=2 a b --skip=c");
    }
}
