//! Where the programs are: PostgreSQL's server binaries, the `pgconvoy` under test, the drivers' interpreters.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The uid and gid PostgreSQL runs as: it refuses to run as root.
#[derive(Clone, Copy)]
struct ServerUser {
    uid: u32,
    gid: u32,
}

static SERVER_USER: LazyLock<Option<ServerUser>> = LazyLock::new(|| {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let find = |name: &str| {
        let line = passwd
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2);
        Some(ServerUser {
            uid: fields.next()?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    assert!(
        user.is_some(),
        "running as root, and there is no user to step down to: add `postgres`"
    );
    user
});

static SERVER_BIN: LazyLock<PathBuf> = LazyLock::new(|| {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    versions
        .filter_map(|entry| {
            let major: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("postgres").exists().then_some((major, bin))
        })
        .max()
        .map(|(_, bin)| bin)
        .expect("no PostgreSQL server under /usr/lib/postgresql: run scripts/setup.sh")
});

/// A PostgreSQL program of the newest installed major, to be run as the server's user.
pub fn server_command(program: &str) -> Command {
    let mut command = Command::new(SERVER_BIN.join(program));
    as_server_user(&mut command);
    command
}

/// A PostgreSQL client program (psql, pgbench, pg_dump) of the same major, run as ourselves.
pub fn client_command(program: &str) -> Command {
    let mut command = Command::new(SERVER_BIN.join(program));
    plain(&mut command);
    command
}

/// Makes `command` run as the server's user, from a directory it may read, without our `PG*` variables.
pub fn as_server_user(command: &mut Command) {
    if let Some(user) = *SERVER_USER {
        command.uid(user.uid).gid(user.gid);
    }
    command.current_dir("/");
    plain(command);
}

fn plain(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command
        .env("LC_ALL", "C.UTF-8")
        .env("PGCONNECT_TIMEOUT", "20");
}

/// Hands a file or directory to the server's user.
pub fn give_to_server_user(path: &Path) {
    if let Some(user) = *SERVER_USER {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).expect("chown");
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_path_buf()
}

/// The binary under test: `$PGCONVOY_BIN`, else `target/e2e/pgconvoy` (built by `make test`).
pub fn pgconvoy() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| repository().join("target"));
    let given = std::env::var_os("PGCONVOY_BIN").map(PathBuf::from);
    let path = given.unwrap_or_else(|| target.join("e2e/pgconvoy"));
    assert!(
        path.exists(),
        "no pgconvoy at {}: build it with `cargo build -p pgconvoy --profile e2e`, or set PGCONVOY_BIN",
        path.display()
    );
    path
}

fn test_dependencies() -> PathBuf {
    let given = std::env::var_os("PGCONVOY_TEST_DEPS").map(PathBuf::from);
    given.unwrap_or_else(|| repository().join("target/test-deps"))
}

/// A script of `tests/drivers`, ready to run: `.py` with the drivers' own Python, `.mjs` with node.
pub fn driver_command(script: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("drivers")
        .join(script);
    assert!(path.exists(), "no such driver script: {}", path.display());
    let deps = test_dependencies();
    let mut command = if script.ends_with(".py") {
        Command::new(deps.join("venv/bin/python"))
    } else {
        Command::new("node")
    };
    // An `import` looks beside the script, not at NODE_PATH: the scripts load drivers from this directory.
    plain(&mut command);
    command
        .arg(path)
        .env("PGCONVOY_NODE_DEPS", deps.join("node"));
    command
}
