//! Independent parsers of SCION headers with which tests and fuzz targets compare `scion-packet`.

#[cfg(feature = "sciparse")]
pub mod agreement;
pub mod destination;
pub mod reading;
