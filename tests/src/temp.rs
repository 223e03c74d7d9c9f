//! Temporary directories that the PostgreSQL server's user may use, removed on drop or by the watchdog.

use crate::{installed, watchdog};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own under `$TMPDIR`, `/dev/shm` or `/tmp`. The name is short: unix socket paths end at 107 bytes.
pub struct TempDir {
    path: PathBuf,
}

/// What `/dev/shm` must have free before clusters are put there: a run needs about 4 GiB.
const ROOM_IN_MEMORY: u64 = 8 << 30;

/// `$TMPDIR` where it is set; else memory where there is plenty, since making and removing some hundred thousand
/// small files is most of what a disk would do in a run; else `/tmp`.
fn parent() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    if std::env::var_os("TMPDIR").is_none() && free >= ROOM_IN_MEMORY {
        return memory.to_path_buf();
    }
    std::env::temp_dir()
}

impl TempDir {
    /// Makes `<tmp>/pgc-<kind>-<pid>-<n>`, owned by the user PostgreSQL runs as.
    pub fn new(kind: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent().join(format!("pgc-{kind}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).expect("make a temporary directory");
        watchdog::remove_at_end(&path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        installed::give_to_server_user(&path);
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file into it and gives its path.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, content).expect("write a temporary file");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A process that is just being killed may still write here: the watchdog removes what is left.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
