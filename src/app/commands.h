// The commands, each run to its end. They give an exit code (exit_code.h) and never throw.
#pragma once

#include "app/command_line.h"

namespace godwit {

int run_send(const SendOptions& options);
int run_receive(const ReceiveOptions& options);
/// With --keep.
int run_receive_many(const ReceiveOptions& options);
int run_probe(const ProbeOptions& options);
int run_forecast(const ForecastOptions& options);
int run_keygen(const KeygenOptions& options);
int run_control(const ControlOptions& options);
int run_relay(const RelayOptions& options);

}  // namespace godwit
