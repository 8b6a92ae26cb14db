//! Figure of recorded runs: latency by percentile, and throughput and loss over time.
//!
//! Three steps: `layout` places panels, curves and labels in a [`drawing::Drawing`], with scales and ticks from `axis`,
//! and `svg` or `png` writes the drawing. Both use the font in `assets`.

mod axis;
mod drawing;
mod font;
mod layout;
mod png;
mod svg;

use std::io;
use std::path::{Path, PathBuf};

use crate::recording::Recording;

/// Maximum number of runs in one figure: one per colour.
pub const MAX_PLOTTED: usize = layout::COLOURS.len();

/// Plots recorded runs into a file, as PNG or SVG depending on its extension.
///
/// # Errors
/// See [`PlotError`].
pub fn plot(recordings: &[(String, &Recording)], path: &Path) -> Result<(), PlotError> {
    let extension = path
        .extension()
        .map(|extension| extension.to_ascii_lowercase());
    let extension = extension.as_ref().and_then(|extension| extension.to_str());
    let write: fn(&drawing::Drawing) -> Result<Vec<u8>, PlotError> = match extension {
        Some("svg") => |drawing| Ok(svg::write(drawing).into_bytes()),
        Some("png") => |drawing| png::write(drawing).ok_or(PlotError::NotPaintable),
        _ => return Err(PlotError::UnknownFormat(path.to_owned())),
    };
    if recordings.len() > MAX_PLOTTED {
        return Err(PlotError::TooMany(recordings.len()));
    }
    let bytes = write(&layout::figure(recordings))?;
    std::fs::write(path, bytes).map_err(|source| PlotError::Unwritable {
        path: path.to_owned(),
        source,
    })
}

/// Reason why a figure was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The extension is neither `.png` nor `.svg`.
    #[error("{}: unknown figure format; expected a name that ends in .png or .svg", .0.display())]
    UnknownFormat(PathBuf),
    /// More runs than colours.
    #[error("expected at most {MAX_PLOTTED} runs in a figure, got {0}")]
    TooMany(usize),
    /// The image could not be painted, which is a bug.
    #[error("cannot paint the figure; this is a bug in snapload")]
    NotPaintable,
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}
