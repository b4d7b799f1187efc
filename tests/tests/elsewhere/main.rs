//! MACs of children that live elsewhere too: a virtual router's, that of a machine that has moved. Whatever
//! plain macvlan carries is carried with the data path as well.

mod daemons;
mod frr;
mod host_owned;
mod keepalived;
mod moved;
mod own_ears;
mod scene;
mod virtual_router;
