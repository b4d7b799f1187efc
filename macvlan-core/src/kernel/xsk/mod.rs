//! AF_XDP: sockets that get frames past the network stack (`Documentation/networking/af_xdp.rst`).

pub mod redirect;
pub mod socket;
