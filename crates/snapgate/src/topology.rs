//! Where the routers of an AS are.

/// An ISD-AS number: 16 bits ISD, 48 bits AS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct IsdAs(pub u64);
