//! Which machines are booted: each kernel, once for all suites that need the same hardware.

use super::{hardware::Hardware, kernels::Kernel, suites::Suite};

/// A kernel, what its machine has, and what is run on it.
pub struct Machine<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The hardware.
    pub hardware: Hardware,
    /// The suites.
    pub suites: Vec<&'a Suite>,
}

impl Machine<'_> {
    /// Its name in what is printed.
    pub fn name(&self) -> String {
        format!("{} {}", self.kernel.name, self.hardware)
    }
}

/// The machines that these suites need on these kernels, those that take longest last.
pub fn machines<'a>(kernels: &[&'a Kernel], suites: &[&'a Suite]) -> Vec<Machine<'a>> {
    let needing = |hardware| suites.iter().copied().filter(move |suite| suite.hardware == hardware).collect();
    let each = Hardware::ALL.into_iter().flat_map(|hardware| {
        kernels.iter().map(move |kernel| Machine { kernel, hardware, suites: needing(hardware) })
    });
    each.filter(|machine| !machine.suites.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::{kernels::KERNELS, suites::SUITES};

    #[test]
    fn a_kernel_is_booted_once_for_all_suites_of_the_same_hardware() {
        let (kernels, suites) = (KERNELS.iter().collect::<Vec<_>>(), SUITES.iter().collect::<Vec<_>>());
        let all = machines(&kernels, &suites);
        assert_eq!(all.len(), 2 * kernels.len());
        assert_eq!(all.iter().map(|machine| machine.suites.len()).sum::<usize>(), 4 * suites.len());
        let names: Vec<_> = machines(&kernels[..1], &suites[..1]).iter().map(Machine::name).collect();
        assert_eq!(names, ["5.10 cards"]);
    }
}
