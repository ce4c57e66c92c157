#![no_main]

quorate_fuzz::run!("card");
