//! All fixes in one program: `fixes 19_accept_queue/wrong/twice [ARGUMENT]...`. They are made by `build.rs`.

#[cfg(target_os = "linux")]
mod servers {
    use exercises::program::Main;

    include!(concat!(env!("OUT_DIR"), "/servers.rs"));
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    exercises::program::main("fixes", servers::SERVERS)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("fixes: these servers are made on Linux only");
}
