//! The last hand that cleans up: a shell that outlives this process in any way it may end, then kills what was
//! started and removes what was written.
//!
//! libtest leaves by `exit`, which drops no static, and a test run may be killed. So the shell reads a pipe whose
//! only writer is this process: its end of file means that the process is gone.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// `kill PID` names a process whose children go with it, `keep PID` takes it off, `rm DIR` a directory to remove.
/// A stopped (SIGSTOP) child dies of SIGKILL, too.
const SCRIPT: &str = r#"
trap '' INT HUP TERM
pids='' dirs=''
while read -r verb what; do
    case $verb in
        kill) pids="$pids $what" ;;
        keep) pids=$(for pid in $pids; do [ "$pid" = "$what" ] || printf '%s ' "$pid"; done) ;;
        rm) dirs="$dirs $what" ;;
    esac
done
for pid in $pids; do
    children=$(pgrep -P "$pid")
    kill -9 "$pid" $children 2>/dev/null
done
for dir in $dirs; do rm -rf "$dir"; done
"#;

static PIPE: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| {
    #[allow(
        clippy::zombie_processes,
        reason = "it ends after us: there is nobody to wait for it"
    )]
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("start the watchdog: sh");
    Mutex::new(shell.stdin.take().expect("the watchdog's pipe"))
});

fn tell(line: &str) {
    let mut pipe = PIPE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    writeln!(pipe, "{line}").expect("write to the watchdog");
}

/// Kill this process and its children at the end, however the end comes.
pub fn kill_at_end(pid: u32) {
    tell(&format!("kill {pid}"));
}

/// The process has ended and was waited for: its number may be given to a stranger.
pub fn ended(pid: u32) {
    tell(&format!("keep {pid}"));
}

/// Remove this directory at the end.
pub fn remove_at_end(directory: &Path) {
    tell(&format!("rm {}", directory.display()));
}
