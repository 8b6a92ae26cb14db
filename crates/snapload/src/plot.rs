//! One figure of recorded runs: latency by percentile, throughput and loss over time.
//!
//! Three steps: `layout` puts panels, curves and words into a [`drawing::Drawing`], `axis` finds
//! scales and their ticks, and `svg` or `png` writes the drawing. Both use the font in `assets`.

mod axis;
mod drawing;
mod font;
mod layout;
mod png;
mod svg;

use std::io;
use std::path::{Path, PathBuf};

use crate::recording::Recording;

/// Runs that one figure can tell apart.
pub const MAX_PLOTTED: usize = layout::COLOURS.len();

/// Draws recorded runs into a file, as PNG or SVG by its extension.
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

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The file's name ends neither with `.png` nor with `.svg`.
    #[error("{}: the figure's format is unknown; name the file .png or .svg", .0.display())]
    UnknownFormat(PathBuf),
    /// More runs than colours.
    #[error("{0} runs are too many for one figure; plot at most {MAX_PLOTTED}")]
    TooMany(usize),
    /// The picture could not be painted, which is a bug.
    #[error("the figure cannot be painted; this is a bug in snapload")]
    NotPaintable,
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
