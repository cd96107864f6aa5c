//! The child: one program, body after body.

use std::io::{self, Read, Write};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::program::{Program, STACK_BYTES};
use super::wire::{Answer, decode_setup, read_frame, write_frame};

/// Serves bodies until `input` ends or one takes too long; then the process is to end.
///
/// # Errors
/// The other side went away, or this is no such other side.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let Some(setup) = read_frame(&mut input)? else { return Ok(()) };
    let (limits, code) = decode_setup(&setup).ok_or_else(invalid)?;
    // Both at once, so that it cannot be raised again.
    let at_most = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Core, at_most(0))?;
    setrlimit(Resource::As, at_most(limits.memory_bytes))?;

    let (bodies, next_body) = sync_channel::<Vec<u8>>(1);
    let (answers, next_answer) = sync_channel(1);
    thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let program = Program::compile(&code);
        for body in next_body {
            let answer = match &program {
                Ok(program) => program.run(&body, limits.output_bytes),
                Err(_) => Answer::Unreadable,
            };
            if answers.send(answer).is_err() {
                return;
            }
        }
    })?;
    while let Some(body) = read_frame(&mut input)? {
        // Fails when the thread panicked, which its answer says.
        let _sent = bodies.send(body);
        let (answer, goes_on) = match next_answer.recv_timeout(limits.time) {
            Ok(answer) => (answer, true),
            Err(RecvTimeoutError::Timeout) => (Answer::TooLong, false),
            Err(RecvTimeoutError::Disconnected) => (Answer::Panicked, false),
        };
        write_frame(&mut output, &answer.encode())?;
        if !goes_on {
            break;
        }
    }
    Ok(())
}
