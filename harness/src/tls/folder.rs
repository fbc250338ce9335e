//! The certificates and keys that the harness makes, once for all who need them at the same time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use reference_server::tls::generated::Made;
use tempfile::TempDir;

/// A folder of certificates and keys, which goes when nobody needs it any more.
#[derive(Debug)]
pub struct Folder {
    made: Made,
    folder: TempDir,
}

impl Folder {
    /// The one that is in use, or a new one.
    ///
    /// # Errors
    /// It can't be made.
    pub fn shared() -> Result<Arc<Self>, String> {
        static CURRENT: Mutex<Weak<Folder>> = Mutex::new(Weak::new());
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = current.upgrade() {
            return Ok(folder);
        }
        let failed = |error: String| format!("certificates for TLS can't be made: {error}");
        let folder = tempfile::Builder::new().prefix("nbdcheck-tls-").tempdir();
        let folder = folder.map_err(|error| failed(error.to_string()))?;
        let made = Made::make(folder.path()).map_err(|error| failed(error.to_string()))?;
        let folder = Arc::new(Self { made, folder });
        *current = Arc::downgrade(&folder);
        Ok(folder)
    }

    /// What is in it.
    #[must_use]
    pub fn made(&self) -> &Made {
        &self.made
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
