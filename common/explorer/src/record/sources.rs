//! The files that the frames of several runs name, once for all of them.
//!
//! Invariant: a frame has a source exactly if the recording has the text of its file; and a recording without frames says
//! why.

use super::{Event, Found, Frame, RecordedRun, Source, State};

/// Takes what each run has found of its source, and leads each frame to its text.
pub fn gather(runs: &mut [RecordedRun]) -> Found {
    let mut gathered = Found::default();
    for Found { sources, no_frames } in runs.iter_mut().map(|run| std::mem::take(&mut run.found)) {
        for source in sources {
            if gathered.sources.iter().all(|known| known.path != source.path) {
                gathered.sources.push(source);
            }
        }
        gathered.no_frames = gathered.no_frames.or(no_frames);
    }
    let mut is_known = false;
    for run in runs {
        for event in &mut run.events {
            if let Event::Call(call) = event {
                is_known |= !call.frames.is_empty();
                lead(&mut call.frames, &gathered.sources);
            }
            if let Some(state) = state_of(event) {
                lead_state(state, &gathered.sources);
            }
        }
        if let Some(end) = &mut run.end {
            lead_state(end, &gathered.sources);
        }
    }
    gathered.no_frames = match (is_known, gathered.no_frames) {
        (true, _) => None,
        (false, why) => Some(why.unwrap_or_else(|| "no call of the server has a line that is known".into())),
    };
    gathered
}

fn lead(frames: &mut [Frame], sources: &[Source]) {
    for frame in frames {
        frame.source = sources.iter().position(|source| Some(&source.path) == frame.file.as_ref());
    }
}

fn lead_state(state: &mut State, sources: &[Source]) {
    for thread in &mut state.threads {
        lead(&mut thread.frames, sources);
    }
}

fn state_of(event: &mut Event) -> Option<&mut State> {
    match event {
        Event::Call(call) => Some(&mut call.state),
        Event::Step(step) => Some(&mut step.state),
        Event::Rest { state, .. } => Some(state),
        Event::Preempted { .. } => None,
    }
}
