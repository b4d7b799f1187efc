use super::*;
use crate::counters::Path;

#[test]
fn a_policy_gives_back_what_went_in() {
    for mode in [Mode::Private, Mode::Vepa, Mode::Bridge, Mode::Passthru, Mode::Source] {
        for access in [false, true] {
            let policy = Policy::new(mode, access);
            assert_eq!((policy.mode(), policy.host_access()), (mode, access));
            assert_eq!(Mode::from_kernel(mode.to_kernel()), Some(mode));
        }
    }
}

#[test]
fn each_setting_of_a_policy_leaves_the_others_alone() {
    let base = Policy::new(Mode::Vepa, true);
    let full = base
        .with_sibling_access(false)
        .with_reflection(true)
        .with_group(0xbeef)
        .with_anti_spoof(AntiSpoof::Ip)
        .with_limit(true)
        .with_wire_scope(true)
        .with_ra(false)
        .with_dhcp_server(false)
        .with_host_access(false);
    assert_eq!((full.ra(), full.dhcp_server(), full.is_inspected()), (false, false, true));
    assert!(full.with_ra(true).dhcp_server() != full.with_dhcp_server(true).dhcp_server());
    assert_eq!((full.mode(), full.host_access(), full.sibling_access()), (Mode::Vepa, false, false));
    assert_eq!((full.anti_spoof(), full.reflects(), full.group()), (AntiSpoof::Ip, true, 0xbeef));
    assert!(!full.with_mode(Mode::Bridge).reflects() && full.with_mode(Mode::Bridge).reflection());
    assert!(full.is_limited_on(Path::Wire) && !full.is_limited_on(Path::Host));
    assert!(full.with_wire_scope(false).is_limited_on(Path::Sibling));
    assert!(full.with_limit(false).has_wire_scope() && !full.with_limit(false).is_limited_on(Path::Wire));
    let back = full
        .with_limit(false)
        .with_wire_scope(false)
        .with_sibling_access(true)
        .with_reflection(false)
        .with_group(0)
        .with_anti_spoof(AntiSpoof::Off)
        .with_ra(true)
        .with_dhcp_server(true)
        .with_host_access(true);
    assert_eq!(back, base);
    for degree in ANTI_SPOOFS {
        assert_eq!(base.with_anti_spoof(degree).anti_spoof(), degree);
        assert_eq!(base.with_anti_spoof(degree).is_inspected(), degree == AntiSpoof::Ip);
    }
    assert!(base.with_ra(false).is_inspected() && base.with_dhcp_server(false).is_inspected());
    assert!(!base.with_ra(false).with_mode(Mode::Passthru).is_inspected());
}

#[test]
fn the_number_of_a_port_fits_beside_all_else() {
    let full = Policy::new(Mode::Bridge, true).with_group(0xffff).with_limit(true).with_wire_scope(true);
    for number in [1, 77, crate::port::NUMBERS - 1] {
        let port = full.with_port(number);
        assert_eq!((port.port(), port.group(), port.has_wire_scope()), (number, 0xffff, true));
        assert_eq!((port.with_port(0), port.mode()), (full, Mode::Bridge));
    }
    assert_eq!((full.port(), full.with_port(0)), (0, full));
}

#[test]
fn siblings_are_apart_when_either_says_so_or_their_groups_differ() {
    let child = Policy::new(Mode::Bridge, true);
    let loner = child.with_sibling_access(false);
    let (one, other) = (child.with_group(1), child.with_group(0x100));
    for (a, b, apart) in [
        (child, child, false),
        (one, one, false),
        (child, loner, true),
        (loner, loner, true),
        (child, one, true),
        (one, other, true),
    ] {
        assert_eq!((a.is_apart_from(b), b.is_apart_from(a)), (apart, apart), "{a:?}, {b:?}");
    }
}

#[test]
fn an_unwritten_policy_leaves_the_child_to_the_kernel() {
    assert_eq!(Policy::default().mode(), Mode::Source);
    assert!(!Policy::default().reaches_host());
}
