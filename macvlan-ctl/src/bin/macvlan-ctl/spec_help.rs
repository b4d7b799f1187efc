//! What `--help` says of a child: where it is made, and where it is changed.

/// Of a child that is made.
pub const NEW_CHILD: &str = "\
A CHILD is NAME[,KEY=VALUE]...; what a key means, and what is so if it is left out:
  mode=bridge|vepa|private|passthru|source   bridge
  kind=macvlan|macvtap|port                  macvlan
  netns=NAME|PATH|PID                        namespace to make it in; the device's
  mac=aa:bb:cc:dd:ee:ff                      drawn by the kernel
  mtu=N                                      the device's
  ip=ADDRESS/PREFIX                          may be repeated; none
  gw=ADDRESS                                 default route; may be repeated; none
  bcqueuelen=N                               broadcast queue length; the kernel's
  host-access=on|off                         on
  sibling-access=on|off                      on
  group=NAME|none                            only siblings of the same group; none
  new-group=NAME                             the same; no child need be in it yet
  anti-spoof=off|mac|ip                      ip: its MAC and IP addresses; off
  vepa-reflect=switch|local                  who reflects in mode vepa; switch
  isolation=strict                           mode=vepa,vepa-reflect=local,anti-spoof=mac, and no child sends as the host
  rate-rx=RATE|off, rate-tx=RATE|off         most it receives, sends: 100mbit, 50kpps, 1gbit+50kpps,
                                             10mbit/64k with a burst in bytes; off
  rate-scope=all|wire                        what rates are for: all, or only the wire; all
  ra=on|off                                  router advertisements and redirects; on
  dhcp-server=on|off                         on
  host-control=on|off                        its advertisements, DHCP offers, LLDP reach the host; off
  mac-change=on|off                          with anti-spoof: a MAC set from inside counts; off
  up, down                                   up
Of a child that is there, a key that is left out stays as it is.";

/// Of a child that is there.
pub const KNOWN_CHILD: &str = "\
A CHILD is named by its container (web, docker:web or an id), MAC, IP address or interface; netns= (a
namespace or a container) tells between equal names.";

/// Of a child that is changed.
pub const CHANGED_CHILD: &str = "\
A CHILD is NAME,KEY=VALUE[,KEY=VALUE]...; NAME is its container (web, docker:web or an id), MAC, IP address or
interface. What is left out stays as it is:
  netns=NAME|PATH|PID|CONTAINER              the namespace it is in, where names are equal
  mode=bridge|vepa|private|source            not to or from passthru
  mac=aa:bb:cc:dd:ee:ff
  mtu=N
  ip=ADDRESS/PREFIX                          one more; may be repeated
  gw=ADDRESS                                 default route; may be repeated
  bcqueuelen=N                               broadcast queue length
  host-access=on|off
  sibling-access=on|off
  group=NAME|none                            only siblings of the same group; none: takes it out
  new-group=NAME                             the same; no child need be in it yet
  anti-spoof=off|mac|ip                      ip: its MAC and IP addresses
  vepa-reflect=switch|local                  who reflects in mode vepa
  isolation=strict                           mode=vepa,vepa-reflect=local,anti-spoof=mac, and no child sends as the host
  rate-rx=RATE|off, rate-tx=RATE|off         most it receives, sends: 100mbit, 50kpps, 1gbit+50kpps,
                                             10mbit/64k with a burst in bytes
  rate-scope=all|wire                        what rates are for: all, or only the wire
  ra=on|off                                  router advertisements and redirects
  dhcp-server=on|off
  host-control=on|off                        its advertisements, DHCP offers, LLDP reach the host
  mac-change=on|off                          with anti-spoof: a MAC set from inside counts
  up, down";
