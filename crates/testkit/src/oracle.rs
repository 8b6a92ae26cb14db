//! What packets are compared with: independent readers of SCION headers, for tests and fuzz targets.

#[cfg(feature = "sciparse")]
pub mod agreement;
pub mod destination;
pub mod reading;
