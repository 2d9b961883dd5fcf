//! Several graders at once, each a process of its own with a build folder of its own.
//!
//! Invariant: each student is given to one job at a time. When `grade` returns, no job is left.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::LabError;
use crate::grading::job::{JobOrder, JobTask};
use crate::grading::{Grade, supervise};
use crate::terminal;

/// A job that was told to end needs about a second.
const ENDS: Duration = Duration::from_secs(5);
/// Of the last words of a job.
const SAID: u64 = 16 << 10;

/// What is to be graded of one student.
#[derive(Debug, Clone)]
pub struct StudentTasks {
    /// The student's place in the class.
    pub student: usize,
    /// The attempts: the exercise's place, its name, and the file.
    pub attempts: VecDeque<(usize, String, Option<PathBuf>)>,
}

/// What a job tells.
#[derive(Debug)]
enum News {
    Graded { student: usize, exercise: usize, grade: Box<Grade> },
    Failed(LabError),
}

/// The jobs that run. A clone is of the same ones.
#[derive(Debug, Clone, Default)]
pub struct Running {
    pids: Arc<Mutex<Vec<u32>>>,
    stop: Arc<AtomicBool>,
}

impl Running {
    fn pids(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all jobs to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        for pid in self.pids().iter().filter_map(|pid| Pid::from_raw(*pid as i32)) {
            // An error means that it is gone already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Tells all jobs to end, and waits for that.
    pub fn end(&self) {
        let end = Instant::now() + ENDS;
        self.stop();
        while !self.pids().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Grades attempts in so many processes. `graded` gets each grade, with the student's and the exercise's place.
///
/// # Errors
/// The first of a job or of `graded`. All jobs are then ended.
pub fn grade(
    tasks: Vec<StudentTasks>,
    jobs: usize,
    order: &JobOrder,
    running: &Running,
    mut graded: impl FnMut(usize, usize, Grade) -> Result<(), LabError>,
) -> Result<(), LabError> {
    let jobs = jobs.min(tasks.len());
    let queue = Mutex::new(VecDeque::from(tasks));
    let (sender, news) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, queue) = (sender.clone(), &queue);
            // The thread stays until its job ends: the job ends with the thread that has started it.
            scope.spawn(move || {
                if let Err(error) = work(queue, order, running, &sender) {
                    let _ = sender.send(News::Failed(error));
                }
            });
        }
        drop(sender);
        let mut first = None;
        for news in news {
            let result = match news {
                News::Graded { student, exercise, grade } if first.is_none() => graded(student, exercise, *grade),
                News::Graded { .. } => Ok(()),
                News::Failed(error) => Err(error),
            };
            if let Err(error) = result {
                running.stop();
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    })
}

/// One job's students, one after the other. An attempt that ends its grader with it, which the operating system may do to
/// both, is given to a second grader once.
fn work(
    queue: &Mutex<VecDeque<StudentTasks>>,
    order: &JobOrder,
    running: &Running,
    sender: &mpsc::Sender<News>,
) -> Result<(), LabError> {
    let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut job = None;
    let mut again = false;
    let mut next = take();
    while let Some(mut tasks) = next {
        while let Some((exercise, name, file)) = tasks.attempts.front().cloned() {
            if running.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            let mut grader = match job.take() {
                Some(job) => job,
                None => Job::start(order, running)?,
            };
            match grader.grade(&JobTask { exercise: name.clone(), file }) {
                Some(grade) => {
                    again = false;
                    tasks.attempts.pop_front();
                    let _ = sender.send(News::Graded { student: tasks.student, exercise, grade: Box::new(grade) });
                    job = Some(grader);
                }
                None => {
                    let why = grader.end();
                    if running.stop.load(Ordering::Acquire) {
                        return Ok(());
                    }
                    match why {
                        Ended::Signal(signal) if !again => {
                            terminal::complain(&format!("a grader was ended by signal {signal} at {name}; once more"));
                            again = true;
                        }
                        Ended::Signal(signal) => {
                            return Err(LabError::failed(format!(
                                "the grader of {name} was ended by signal {signal} twice; is there enough memory? What \
                                 is graded is kept: call the same command again"
                            )));
                        }
                        Ended::Said(said) => return Err(LabError::failed(said)),
                    }
                }
            }
        }
        next = take();
    }
    Ok(())
}

/// A grader's process.
struct Job<'a> {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    said: Option<std::thread::JoinHandle<String>>,
    running: &'a Running,
}

/// How a grader ended without a grade.
enum Ended {
    Signal(i32),
    Said(String),
}

impl<'a> Job<'a> {
    fn start(order: &JobOrder, running: &'a Running) -> Result<Self, LabError> {
        let mut lab: Command = supervise::lab();
        lab.arg("grade-job").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = lab.spawn();
        let mut child =
            started.map_err(|error| LabError::failed(format!("cannot start the lab once more: {error}")))?;
        running.pids().push(child.id());
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut stderr = child.stderr.take().expect("piped");
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.by_ref().take(SAID).read_to_end(&mut said);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&said).into_owned()
        });
        let mut job = Self { input: child.stdin.take(), child, output, said: Some(said), running };
        job.tell(order);
        Ok(job)
    }

    fn tell(&mut self, line: &impl serde::Serialize) {
        let line = serde_json::to_string(line).expect("strings and numbers only") + "\n";
        // Who does not read it any more gives no grade either.
        let _ = self.input.as_mut().map(|input| input.write_all(line.as_bytes()));
    }

    /// The attempt's grade; nothing if the process ends instead.
    fn grade(&mut self, task: &JobTask) -> Option<Grade> {
        self.tell(task);
        let mut line = String::new();
        self.output.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Why it has ended.
    fn end(mut self) -> Ended {
        drop(self.input.take());
        let signal = self.child.wait().ok().and_then(|status| status.signal());
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        match signal {
            Some(signal) => Ended::Signal(signal),
            None => Ended::Said(match said.trim().trim_start_matches("error: ") {
                "" => "a grader ended without a word".into(),
                said => said.to_owned(),
            }),
        }
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
        let id = self.child.id();
        self.running.pids().retain(|pid| *pid != id);
    }
}
