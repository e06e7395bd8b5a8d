//! What the fuzz targets share.

pub mod chunks;
pub mod recording;
