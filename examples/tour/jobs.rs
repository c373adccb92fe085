//! A struct of the user's own. Two programs that share no code each define it. Its name, size and alignment
//! have to be equal, but the module path may differ.

use crate::show::{Outcome, Program, check, name, rows};
use shmkit::Queue;

/// The program that gives jobs.
mod boss {
    use bytemuck::{Pod, Zeroable};

    #[repr(C)]
    #[derive(Clone, Copy, Debug, Pod, Zeroable)]
    pub(super) struct Job {
        pub(super) id: u64,
        pub(super) width: f64,
        pub(super) height: f64,
    }
}

/// The program that does the jobs.
pub(crate) mod worker {
    use crate::show::Outcome;
    use bytemuck::{Pod, Zeroable};
    use shmkit::Queue;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, Pod, Zeroable)]
    struct Job {
        id: u64,
        width: f64,
        height: f64,
    }

    /// Prints the full name of its struct, and answers each job with the job's id and area.
    pub(crate) fn work(args: &[String]) -> Outcome {
        let jobs = Queue::<Job>::open(args[0].as_str())?;
        let answers = Queue::<[f64; 2]>::open(args[1].as_str())?;
        println!("{}", std::any::type_name::<Job>());
        for job in &jobs {
            #[allow(clippy::cast_precision_loss)] // a small number
            answers.put([job.id as f64, job.width * job.height])?;
        }
        answers.close();
        Ok(())
    }
}

/// The step.
pub(crate) fn run() -> Outcome {
    let (jobs_name, answers_name) = (name("jobs"), name("answers"));
    let jobs = Queue::<boss::Job>::create(&jobs_name, 8)?;
    let answers = Queue::<[f64; 2]>::create(&answers_name, 8)?;
    let mut worker = Program::start("worker", &[&jobs_name, &answers_name])?;
    let its_struct = worker.line()?;
    let own_struct = std::any::type_name::<boss::Job>();
    let (id, width, height) = (7, 3.0, 4.0);
    let job = boss::Job { id, width, height };
    jobs.put(job)?;
    let answer = answers.get()?;
    let told = format!("job {:.0} has an area of {:?}", answer[0], answer[1]);
    jobs.close();
    worker.finish()?;

    // A program with the wrong type gets an error, and changes nothing.
    let mut stranger = Program::start("stranger", &[&jobs_name])?;
    let refusal = stranger.line()?;
    stranger.finish()?;
    rows(&[
        ("this program's struct", own_struct),
        ("the worker's struct", &its_struct),
        ("this program puts", &format!("{job:?}")),
        ("the worker answers", &told),
        ("an open as Queue<u64>", "is refused:"),
        ("", &refusal),
    ]);
    check("both paths are the same", false, its_struct == own_struct)?;
    check("the worker's answer", [7.0, 12.0], answer)
}

/// A program that takes the queue for a queue of numbers, and prints the error.
pub(crate) fn open_as_numbers(args: &[String]) -> Outcome {
    match Queue::<u64>::open(args[0].as_str()) {
        Ok(_) => check("a queue of jobs opened as one of numbers", false, true),
        Err(shmkit::Error::Mismatch { .. }) => {
            let refusal = Queue::<u64>::open(args[0].as_str()).expect_err("as before");
            println!("{refusal}");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
