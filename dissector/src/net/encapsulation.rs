//! What packets come inside of.

/// What a packet was inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tunnel {
    /// RFC 7348: Ethernet in UDP.
    Vxlan,
    /// RFC 8926: mostly Ethernet, in UDP.
    Geneve,
    /// RFC 2784 and 2890: IP or Ethernet.
    Gre,
    /// What Cisco's switches mirror: Ethernet, in GRE.
    Erspan,
    /// RFC 2003, 2473, 4213: IP in IP.
    Ip,
    /// RFC 3032 and 4448: behind labels, as IP or Ethernet.
    Mpls,
    /// RFC 2516: PPP over Ethernet.
    Pppoe,
}

impl Tunnel {
    /// Its usual name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "VXLAN",
            Self::Geneve => "Geneve",
            Self::Gre => "GRE",
            Self::Erspan => "ERSPAN",
            Self::Ip => "IP in IP",
            Self::Mpls => "MPLS",
            Self::Pppoe => "PPPoE",
        }
    }
}
