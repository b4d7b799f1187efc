//! An access point, and stations that associate with it.

use std::{
    fs::{self, File},
    process::Stdio,
};

use macvlan_tests::{
    cli,
    daemon::Daemon,
    fail::{OrFail as _, wait_for},
    lab::{Lab, Station},
    netns::Netns,
};

/// How an access point speaks with its stations.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// Whether frames are encrypted.
    wpa2: bool,
    /// Whether it sends a group's frames to each station alone, as many do for the sake of speed.
    multicast_to_unicast: bool,
}

/// The kinds that there are.
pub const NETWORKS: [Network; 3] = [
    Network { wpa2: false, multicast_to_unicast: false },
    Network { wpa2: true, multicast_to_unicast: false },
    Network { wpa2: true, multicast_to_unicast: true },
];

/// The device of every radio.
pub const DEVICE: &str = "wlan0";

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Said by `wpa_supplicant` whenever it has associated.
const CONNECTED: &str = "CTRL-EVENT-CONNECTED";

impl Network {
    fn access_point(self) -> String {
        let mut lines = format!(
            "interface={DEVICE}\nbridge=br0\ndriver=nl80211\nssid=lab\nhw_mode=g\nchannel=1\nieee80211n=1\n\
             wmm_enabled=1\nmulticast_to_unicast={}\n",
            u8::from(self.multicast_to_unicast)
        );
        if self.wpa2 {
            lines += &format!("wpa=2\nwpa_key_mgmt=WPA-PSK\nrsn_pairwise=CCMP\nwpa_psk={KEY}\n");
        }
        lines
    }

    fn station(self, name: &str) -> String {
        let key = if self.wpa2 { format!("psk={KEY}\nkey_mgmt=WPA-PSK") } else { "key_mgmt=NONE".into() };
        format!(
            "ctrl_interface={}\np2p_disabled=1\nnetwork={{\nssid=\"lab\"\nscan_freq=2412\n{key}\n}}\n",
            control(name)
        )
    }
}

/// An access point, until this is dropped: its bridge is the lab's wire.
#[track_caller]
pub fn access_point(lab: &Lab, network: Network) -> Daemon {
    let config = "/run/hostapd.conf";
    write(lab, config, &network.access_point());
    Daemon::start(lab.command(&lab.wire.ns, "hostapd").arg(config).stdout(Stdio::null()))
}

/// A station's `wpa_supplicant`.
pub struct Supplicant {
    name: &'static str,
    ns: Netns,
    _daemon: Daemon,
}

impl Supplicant {
    /// One of this name, for this station, which goes on trying to associate.
    #[track_caller]
    pub fn start(lab: &Lab, name: &'static str, station: &Station, network: Network) -> Self {
        let config = format!("/run/{name}.conf");
        write(lab, &config, &network.station(name));
        let log = lab.mounts().enter(|| File::create(log(name))).or_fail("make a log");
        let mut command = lab.command(&station.ns, "wpa_supplicant");
        command.args(["-D", "nl80211", "-i", &station.dev, "-c", &config]).stdout(log);
        Self { name, ns: station.ns.share(), _daemon: Daemon::start(&mut command) }
    }

    /// Does this, and waits until the station has associated once more.
    #[track_caller]
    pub fn associates_anew<T>(&self, lab: &Lab, act: impl FnOnce() -> T) -> T {
        let before = self.associations(lab);
        let done = act();
        wait_for("the station to associate", || (self.associations(lab) > before).then_some(()));
        done
    }

    /// Has it associate anew.
    #[track_caller]
    pub fn reassociate(&self, lab: &Lab) {
        let mut command = lab.command(&self.ns, "wpa_cli");
        command.args(["-p", &control(self.name), "-i", DEVICE, "reassociate"]);
        let said = cli::output(&mut command).succeeded().stdout;
        assert_eq!(said.trim(), "OK");
    }

    #[track_caller]
    fn associations(&self, lab: &Lab) -> usize {
        let said = lab.mounts().enter(|| fs::read_to_string(log(self.name))).or_fail("read a log");
        said.matches(CONNECTED).count()
    }
}

/// The directory of a supplicant's control socket.
fn control(name: &str) -> String {
    format!("/run/{name}.control")
}

fn log(name: &str) -> String {
    format!("/run/{name}.log")
}

#[track_caller]
fn write(lab: &Lab, path: &str, text: &str) {
    lab.mounts().enter(|| fs::write(path, text)).or_fail(format!("write {path}"));
}
