//! Programs that behave, hang, flood and ask, and recordings of them.

use super::*;
use std::fs;
use std::time::Instant;

fn shell(script: &str) -> CommandLine {
    CommandLine::new("/bin/sh", &["-c", script])
}

#[test]
fn output_and_exit_code_come_back() {
    let output = SystemRunner::default()
        .run(&shell("echo out; echo err >&2; exit 64"))
        .unwrap();
    assert_eq!(output.status, Some(64));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn a_missing_program_is_named() {
    let failure = SystemRunner::default()
        .run(&CommandLine::new("ncps-no-such-tool", &[]))
        .unwrap_err();
    assert_eq!(failure.to_string(), "`ncps-no-such-tool` is not installed");
}

#[test]
fn a_program_that_hangs_is_killed() {
    let mut command = shell("exec sleep 30");
    command.timeout = Duration::from_millis(100);
    let start = Instant::now();
    let failure = SystemRunner::default().run(&command).unwrap_err();
    assert!(matches!(failure, RunFailure::TimedOut { .. }));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_program_that_closes_its_pipes_and_hangs_is_killed() {
    let mut command = shell("exec sleep 30 >&- 2>&-");
    command.timeout = Duration::from_millis(100);
    assert!(matches!(
        SystemRunner::default().run(&command),
        Err(RunFailure::TimedOut { .. })
    ));
}

#[test]
fn a_program_that_prints_without_end_is_killed() {
    let mut command = shell("exec yes");
    command.max_bytes = 1000;
    let failure = SystemRunner::default().run(&command).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "`/bin/sh` printed more than 1000 bytes"
    );
}

#[test]
fn a_program_gets_no_input_to_wait_for() {
    let output = SystemRunner::default()
        .run(&shell("read -r line || echo none"))
        .unwrap();
    assert_eq!(output.stdout, "none\n");
}

#[test]
fn a_recording_answers_only_what_it_heard() {
    let runner = RecordedRunner::new().with("/bin/tool -a", "yes");
    let said = runner.run(&CommandLine::new("/bin/tool", &["-a"])).unwrap();
    assert_eq!(said.stdout, "yes");
    assert!(runner.run(&CommandLine::new("/bin/tool", &[])).is_err());
}

#[test]
fn a_recording_is_read_from_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let one = dir.path().join("tool");
    fs::create_dir(&one).unwrap();
    fs::write(one.join("argv"), "tool -x\n").unwrap();
    fs::write(one.join("stdout"), "text").unwrap();
    fs::write(one.join("status"), "3\n").unwrap();
    let runner = RecordedRunner::from_dir(dir.path()).unwrap();
    let said = runner.run(&CommandLine::new("tool", &["-x"])).unwrap();
    assert_eq!((said.status, said.stdout.as_str()), (Some(3), "text"));
    fs::write(one.join("status"), "three").unwrap();
    assert!(RecordedRunner::from_dir(dir.path()).is_err());
}

#[test]
fn a_program_that_asks_for_a_password_gets_none_and_is_killed() {
    let mut command = shell("printf 'Password:' >&2; read -r secret; exec sleep 30");
    command.timeout = Duration::from_millis(200);
    let failure = SystemRunner::default().run(&command).unwrap_err();
    assert!(matches!(failure, RunFailure::TimedOut { .. }), "{failure}");
}

#[test]
fn lines_come_while_the_program_runs_and_it_ends_with_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let alive = dir.path().join("alive");
    let script = format!(
        "echo one; echo two; while :; do touch {}; sleep 0.05; done",
        alive.display()
    );
    let mut stream = SystemRunner::default().lines(&shell(&script)).unwrap();
    let patience = Duration::from_secs(10);
    assert_eq!(stream.next_line(patience).unwrap().as_deref(), Some("one"));
    assert_eq!(stream.next_line(patience).unwrap().as_deref(), Some("two"));
    assert_eq!(stream.next_line(Duration::from_millis(20)).unwrap(), None);
    drop(stream);
    let _ = fs::remove_file(&alive);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!alive.exists(), "the program lives on");
}

#[test]
fn a_stream_that_ends_says_why_and_an_unfinished_line_is_no_line() {
    let script = "printf 'whole\n3.1'; echo 'no permission' >&2; exit 1";
    let mut stream = SystemRunner::default().lines(&shell(script)).unwrap();
    let patience = Duration::from_secs(10);
    assert_eq!(
        stream.next_line(patience).unwrap().as_deref(),
        Some("whole")
    );
    let failure = stream.next_line(patience).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "`/bin/sh` ended by itself: no permission"
    );
}

#[test]
fn a_line_without_end_is_cut_off() {
    let mut command = shell("exec tr '\\000' x < /dev/zero");
    command.max_bytes = 1000;
    let mut stream = SystemRunner::default().lines(&command).unwrap();
    let failure = stream.next_line(Duration::from_secs(10)).unwrap_err();
    assert!(
        matches!(failure, RunFailure::TooMuchOutput { limit: 1000, .. }),
        "{failure}"
    );
}

#[test]
fn several_answers_come_in_order_and_the_last_one_stays() {
    let runner = RecordedRunner::new().with("t", "1").with("t", "2");
    let ask = || runner.run(&CommandLine::new("t", &[])).unwrap().stdout;
    assert_eq!([ask(), ask(), ask()], ["1", "2", "2"]);
}

#[test]
fn the_number_of_this_process_is_not_part_of_a_recording() {
    let pid = std::process::id().to_string();
    let command = CommandLine::new("/bin/ps", &["-p", &pid]);
    assert_eq!(command.text(), "/bin/ps -p {pid}");
}

#[test]
fn scripts_in_a_folder_stand_in_for_the_systems_programs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("true");
    fs::write(&path, "#!/bin/sh\necho fake\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).unwrap();
    let runner = SystemRunner::with_tools(dir.path());
    let said = runner.run(&CommandLine::new("/usr/bin/true", &[])).unwrap();
    assert_eq!(said.stdout, "fake\n");
    assert!(runner.run(&CommandLine::new("/bin/sh", &[])).is_err());
}
