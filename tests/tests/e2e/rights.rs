//! The rights of files that the agent writes, and the programs to which commands show its token.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use e2e::{Lab, PATIENCE, Process, Signal, Site, modemfleet, run, until};

const TOKEN: &str = "token-5d0c1be2-of-the-api";

fn give(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Returns the files and folders below a folder that others may use, with their modes.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut open = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            open.push(format!("{} {mode:o}", path.display()));
        }
        if meta.is_dir() {
            open.extend(open_to_others(&path));
        }
    }
    open
}

/// Makes a site with an inbox, whose folders already exist and are open to all readers.
fn open_folders() -> Lab {
    let mut lab = Lab::without_modems(1);
    let at = |name: &str| lab.site.dir().join(name);
    for folder in ["queue", "inbox"] {
        fs::create_dir(at(folder)).unwrap();
        give(&at(folder), 0o755);
    }
    let inbox = format!("inbox: {{ path: {} }}\n", at("inbox").display());
    lab.site.body.insert_str(0, &inbox);
    lab
}

/// Starts the agent with the umask 0.
fn without_umask(site: &Site) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(modemfleet());
    command.arg("run").arg("--config").arg(site.file());
    let agent = Process::start("agent", &mut command);
    let http = e2e::Http::new(site.port());
    until("the agent", || {
        http.try_ask("GET", "/healthz", &[], b"").filter(|answer| answer.status == 200)
    });
    agent
}

#[test]
fn files_are_the_agents_own_whatever_the_folder_and_the_umask() {
    let lab = open_folders();
    let http = e2e::Http::new(lab.site.port());
    let agent = without_umask(&lab.site);
    assert_eq!(http.publish("topic=t", b"secret").status, 202);
    let at = |name: &str| lab.site.dir().join(name);
    assert!(at("queue/queue.db-wal").exists() && at("inbox/inbox.db-wal").exists());
    assert_eq!(open_to_others(&at("queue")), Vec::<String>::new());
    assert_eq!(open_to_others(&at("inbox")), Vec::<String>::new());
    drop(agent);

    // Files of an earlier version, and a damaged file.
    fs::create_dir(at("queue/damaged-1")).unwrap();
    give(&at("queue/damaged-1"), 0o755);
    fs::write(at("queue/pins.json"), "{}").unwrap();
    for entry in fs::read_dir(at("queue")).unwrap().chain(fs::read_dir(at("inbox")).unwrap()) {
        let path = entry.unwrap().path();
        if path.is_file() {
            give(&path, 0o644);
        }
    }
    let text = fs::read(at("queue/queue.db")).unwrap();
    fs::write(at("queue/queue.db"), vec![0x5a; text.len()]).unwrap();
    let _agent = without_umask(&lab.site);
    let kept = fs::read_dir(at("queue")).unwrap().map(|entry| entry.unwrap().file_name());
    let kept = kept.filter(|name| name.to_str().unwrap().starts_with("damaged-")).count();
    assert_eq!(kept, 2, "the damaged file is kept");
    assert_eq!(open_to_others(&at("queue")), Vec::<String>::new());
    assert_eq!(open_to_others(&at("inbox")), Vec::<String>::new());
}

#[test]
fn a_folder_that_others_may_write_is_warned_of() {
    let lab = open_folders();
    let (file, folder) = (lab.site.file(), lab.site.dir().join("inbox"));
    let told = |words: &[&str]| {
        let said = run(Command::new(modemfleet()).args(words).arg(&file), b"");
        String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
    };
    let wanted = format!("other users can write to {} (mode 0777)", folder.display());
    assert!(!told(&["check"]).contains("other users"));
    give(&folder, 0o777);
    assert!(told(&["check"]).contains(&wanted));
    let agent = lab.site.start();
    let doctor = told(&["doctor", "--config"]);
    assert!(doctor.contains(&wanted) && doctor.contains("chmod go-w"), "{doctor}");
    give(&folder, 0o755);
    let doctor = told(&["doctor", "--config"]);
    assert!(doctor.contains(&format!("list {} (mode 0755)", folder.display())), "{doctor}");
    give(&lab.site.dir().join("queue/queue.db"), 0o640);
    let doctor = told(&["doctor", "--config"]);
    let open = format!("other users have access to {}/queue/queue.db", lab.site.dir().display());
    assert!(doctor.contains(&open) && !doctor.contains(&wanted), "{doctor}");
    drop(agent);
}

/// Reports whether a process that a signal ended left a core, with no limit on its size.
fn leaves_core(dir: &Path, program: &[&str]) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\""]).args(program);
    let mut process = Process::start("to be killed", command.current_dir(dir));
    let running = format!("/proc/{}/comm", process.pid());
    until("the program", || {
        fs::read_to_string(&running).is_ok_and(|comm| comm != "sh\n").then_some(())
    });
    e2e::pause(Duration::from_secs(1));
    process.signal(Signal::ABORT);
    let status = process.end_within(PATIENCE).expect("a signal ends it");
    assert_eq!(status.signal(), Some(6));
    status.core_dumped()
}

#[test]
fn a_crash_leaves_no_core() {
    let lab = Lab::without_modems(1);
    let (dir, file) = (lab.site.dir(), lab.site.file());
    if !leaves_core(dir, &["sleep", "60"]) {
        eprintln!("skipped: this machine keeps no cores");
        return;
    }
    let program = modemfleet().to_str().unwrap();
    assert!(!leaves_core(dir, &[program, "run", "--config", file.to_str().unwrap()]));
}

/// Listens on the agent's port, answers nothing, and passes on the requests.
fn squatter(port: u16) -> Receiver<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let mut heard = Vec::new();
            let mut piece = [0; 4_096];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                heard.extend(piece.iter().take(count));
            }
            drop(tell.send(String::from_utf8_lossy(&heard).into_owned()));
        }
    });
    told
}

fn status(words: &[&str]) -> (Output, String) {
    let said = run(Command::new(modemfleet()).arg("status").args(words), b"");
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    (said, words)
}

#[test]
fn a_token_does_not_go_to_an_address_that_was_fallen_back_to() {
    let mut site = Site::new();
    let (token, socket) = (site.secret("token", TOKEN), site.dir().join("api.sock"));
    site.http = format!(", token: {{ file: {} }}, socket: {}", token.display(), socket.display());
    site.body = "modems: { m: { match: { port: /none } } }\n".to_owned();
    let (file, url) = (site.file(), format!("http://127.0.0.1:{}", site.port()));
    let (file, token) = (file.to_str().unwrap(), token.to_str().unwrap());
    let heard = squatter(site.port());
    for words in [&["--config", file][..], &["--config", file, "--token-file", token]] {
        let (said, words) = status(words);
        assert_eq!(said.status.code(), Some(3), "{words}");
        assert!(words.contains("api.sock (No such file"), "{words}");
        assert!(words.contains(&format!("the token is not sent to {url} instead")), "{words}");
        assert!(words.contains("`--url` and `--token-file`"), "{words}");
        assert!(heard.try_recv().is_err(), "something was sent");
    }
    // The user named the address and the token.
    let (said, words) = status(&["--url", &url, "--token-file", token]);
    assert_eq!(said.status.code(), Some(1), "{words}");
    assert!(heard.recv_timeout(PATIENCE).unwrap().contains(TOKEN));
}

/// Starts a program of the user `nobody` on the agent's port, which prints the requests.
fn foreign_squatter(port: u16) -> Process {
    let listen = "import os,socket,sys\nos.setgroups([]);os.setgid(65534);os.setuid(65534)\ns=socket.create_server(('127.0.0.1',int(sys.argv[1])))\n\
                  print('listening',flush=True)\nwhile True:\n c,_=s.accept();c.settimeout(1)\n try: print('heard',c.recv(4096),flush=True)\n \
                  except Exception: print('heard nothing',flush=True)\n c.close()";
    let mut command = Command::new("python3");
    let squatter = Process::start("squatter", command.args(["-c", listen, &port.to_string()]));
    squatter.line("the squatter", |line| line == "listening");
    squatter
}

#[test]
fn a_token_does_not_go_to_a_program_of_another_user() {
    if run(Command::new("id").arg("-u"), b"").stdout != b"0\n" {
        eprintln!("skipped: only root can be somebody else");
        return;
    }
    let mut site = Site::new();
    let token = site.secret("token", TOKEN);
    site.http = format!(", token: {{ file: {} }}", token.display());
    site.body = "modems: { m: { match: { port: /none } } }\n".to_owned();
    let (file, url) = (site.file(), format!("http://127.0.0.1:{}", site.port()));
    let (file, token) = (file.to_str().unwrap(), token.to_str().unwrap());
    let squatter = foreign_squatter(site.port());
    let (said, words) = status(&["--config", file]);
    assert_eq!(said.status.code(), Some(1), "{words}");
    assert!(words.contains(&format!("the token is not sent to {url}")), "{words}");
    assert!(words.contains("(uid 65534) listens there, which is not the agent's user"), "{words}");
    squatter.line("the connection", |line| line.starts_with("heard"));
    assert!(!squatter.stdout().iter().any(|line| line.contains(TOKEN)));
    let _ = status(&["--url", &url, "--token-file", token]);
    squatter.line("the token", |line| line.contains(TOKEN));
    drop(squatter);
    // If any user may create the queue's files, their owner proves nothing.
    let queue = site.dir().join("queue");
    fs::create_dir_all(&queue).unwrap();
    give(&queue, 0o1777);
    let lock = queue.join("queue.lock");
    fs::write(&lock, "").unwrap();
    std::os::unix::fs::chown(&lock, Some(65534), Some(65534)).unwrap();
    let squatter = foreign_squatter(site.port());
    let (_, words) = status(&["--config", file]);
    assert!(words.contains("(uid 65534) listens there, which is not the agent's user"), "{words}");
    squatter.line("the connection", |line| line.starts_with("heard"));
    assert!(!squatter.stdout().iter().any(|line| line.contains(TOKEN)));
    drop(squatter);
    fs::remove_dir_all(&queue).unwrap();
    // The agent may run as another user than the command: the queue's owner is the agent's user.
    let agent = site.start();
    let (said, words) = status(&["--config", file]);
    assert_eq!(said.status.code(), Some(0), "{words}");
    drop(agent);
}
