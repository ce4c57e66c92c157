#![no_main]

quorate_fuzz::run!("votes_frame");
