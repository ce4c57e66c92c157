#![no_main]

quorate_fuzz::run!("state_proof");
