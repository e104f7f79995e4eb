#include "app/command_line.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "app/exit_code.h"
#include "app/version.h"

namespace godwit::command_line_test {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kCpus = 8;

Result<Command> parse(std::vector<const char*> words, unsigned cpus = kCpus) {
  words.insert(words.begin(), "godwit");
  return parse_command_line(static_cast<int>(words.size()), words.data(), cpus);
}

template <typename Options>
Options parsed(std::vector<const char*> words, unsigned cpus = kCpus) {
  const auto command = parse(std::move(words), cpus);
  if (!command) {
    ADD_FAILURE() << command.error().message;
    return {};
  }
  if (!std::holds_alternative<Options>(*command)) {
    ADD_FAILURE() << "another command, number " << command->index();
    return {};
  }
  return std::get<Options>(*command);
}

std::string message(std::vector<const char*> words) {
  const auto command = parse(std::move(words));
  if (command) {
    ADD_FAILURE() << "was taken";
    return {};
  }
  EXPECT_EQ(command.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(command.error().message.find('\n'), std::string::npos) << command.error().message;
  return command.error().message;
}

std::string shown(std::vector<const char*> words) {
  return parsed<ShowText>(std::move(words)).text;
}

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

TEST(CommandLine, ALogIsAskedForByItsFileAndLevel) {
  const auto plain = parsed<SendOptions>({"send", "--qmp", "/q", "--to", "tcp://b:1"});
  EXPECT_EQ(plain.log.file, "");
  EXPECT_EQ(plain.log.level, LogLevel::kInfo);
  const auto send = parsed<SendOptions>(
      {"send", "--qmp", "/q", "--to", "tcp://b:1", "--log-file", "/var/log/godwit.log", "--log-level", "debug"});
  EXPECT_EQ(send.log.file, "/var/log/godwit.log");
  EXPECT_EQ(send.log.level, LogLevel::kDebug);
  const auto receive =
      parsed<ReceiveOptions>({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--log-level", "warning"});
  EXPECT_EQ(receive.log.level, LogLevel::kWarning);
  EXPECT_EQ(message({"send", "--qmp", "/q", "--to", "tcp://b:1", "--log-level", "loud"}),
            "--log-level: invalid value 'loud'; write error, warning, info or debug");
  EXPECT_EQ(message({"send", "--qmp", "/q", "--to", "tcp://b:1", "--log-file", ""}),
            "--log-file: invalid value ''; write a file's path, e.g. /tmp/report.json");
}

TEST(SendCommand, TakesItsDefaults) {
  const auto send = parsed<SendOptions>({"send", "--qmp", "/run/a.qmp", "--to", "tcp://host-b:4444"});
  EXPECT_EQ(send.qmp, "/run/a.qmp");
  EXPECT_EQ(send.to.host, "host-b");
  EXPECT_EQ(send.to.port, 4444);
  EXPECT_EQ(send.goals.max_downtime, Duration(50ms));
  EXPECT_EQ(send.goals.timeout, Duration(1h));
  EXPECT_EQ(send.goals.lanes, 4U);
  EXPECT_EQ(send.goals.most_lanes, 16U);
  EXPECT_FALSE(send.goals.encoding_threads.has_value()) << "by the idle CPUs";
  EXPECT_FALSE(send.goals.codec.has_value()) << "the governor's choice";
  EXPECT_FALSE(send.goals.delta_memory.has_value());
  EXPECT_FALSE(send.goals.bandwidth.has_value());
  EXPECT_EQ(send.pid, 0);
  EXPECT_EQ(send.progress, ProgressMode::kAuto);
  EXPECT_EQ(send.report_file, "");
  EXPECT_TRUE(send.skip_free_pages);
  EXPECT_EQ(send.kernels, "");
}

TEST(SendCommand, TakesEveryOption) {
  const auto send = parsed<SendOptions>({"send",
                                         "--qmp",
                                         "/run/a.qmp",
                                         "--to",
                                         "unix:///run/g.sock",
                                         "--max-downtime",
                                         "30ms",
                                         "--bandwidth",
                                         "2.5Gbit",
                                         "--codec",
                                         "lz4:16",
                                         "--lanes",
                                         "7",
                                         "--timeout",
                                         "5min",
                                         "--progress",
                                         "json",
                                         "--report",
                                         "/tmp/r.json",
                                         "--pid",
                                         "4711",
                                         "--kernels",
                                         "avx2",
                                         "--free-pages",
                                         "send",
                                         "--delta-memory",
                                         "64MiB",
                                         "--encoding-threads",
                                         "0"});
  EXPECT_EQ(send.to.kind, Address::Kind::kUnix);
  EXPECT_EQ(send.to.path, "/run/g.sock");
  EXPECT_EQ(send.goals.max_downtime, Duration(30ms));
  EXPECT_EQ(send.goals.bandwidth, BitRate{2'500'000'000});
  EXPECT_EQ(send.goals.codec, (CodecChoice{CodecId::kLz4, 16}));
  EXPECT_EQ(send.goals.delta_memory, 64 * kMiB);
  EXPECT_EQ(send.goals.lanes, 7U);
  EXPECT_EQ(send.goals.most_lanes, 0U) << "as many as were asked for";
  EXPECT_EQ(send.goals.encoding_threads, 0U);
  EXPECT_EQ(send.goals.timeout, Duration(5min));
  EXPECT_EQ(send.progress, ProgressMode::kJson);
  EXPECT_EQ(send.report_file, "/tmp/r.json");
  EXPECT_EQ(send.pid, 4711);
  EXPECT_FALSE(send.skip_free_pages);
  EXPECT_EQ(send.kernels, "avx2");
}

TEST(SendCommand, DefaultsToALaneForEachCpuUpToFourAndFromEightOnForEachSecondOneUpToEight) {
  EXPECT_EQ(default_lanes(0), 1U);
  for (const auto& [cpus, lanes] :
       std::map<unsigned, unsigned>{{1, 1}, {2, 2}, {3, 3}, {4, 4}, {8, 4}, {12, 6}, {96, 8}}) {
    const auto send = parsed<SendOptions>({"send", "--qmp=/q", "--to=tcp://b:1"}, cpus);
    EXPECT_EQ(send.goals.lanes, lanes) << cpus;
  }
}

TEST(ReceiveCommand, TakesDefaultsAndOptions) {
  const auto plain = parsed<ReceiveOptions>({"receive", "--qmp", "/run/b.qmp", "--listen", "tcp://0.0.0.0:4444"});
  EXPECT_EQ(plain.qmp, "/run/b.qmp");
  EXPECT_EQ(plain.listen.port, 4444);
  EXPECT_EQ(plain.timeout, Duration(1h));
  EXPECT_FALSE(parsed<SendOptions>({"send", "--qmp", "/run/a.qmp", "--to", "tcp://h:1"}).allow_nested);
  EXPECT_TRUE(parsed<SendOptions>({"send", "--qmp", "/run/a.qmp", "--to", "tcp://h:1", "--allow-nested"}).allow_nested);
  EXPECT_FALSE(plain.lenience.any_vm || plain.lenience.any_disks);
  const auto lenient =
      parsed<ReceiveOptions>({"receive", "--qmp", "/run/b.qmp", "--listen", "tcp://:1", "--any-vm", "--any-disks"});
  EXPECT_TRUE(lenient.lenience.any_vm && lenient.lenience.any_disks);
  EXPECT_EQ(plain.start_timeout, Duration(60s));
  EXPECT_EQ(
      parsed<ReceiveOptions>({"receive", "--qmp", "/run/b.qmp", "--listen", "tcp://[::1]:0", "--start-timeout", "5s"})
          .start_timeout,
      Duration(5s));
  const auto full = parsed<ReceiveOptions>({"receive", "--qmp", "/run/b.qmp", "--listen", "tcp://[::1]:0", "--timeout",
                                            "90s", "--report", "r.json", "--pid", "12"});
  EXPECT_EQ(full.listen.host, "::1");
  EXPECT_EQ(full.listen.port, 0);
  EXPECT_EQ(full.timeout, Duration(90s));
  EXPECT_EQ(full.report_file, "r.json");
  EXPECT_EQ(full.pid, 12);
}

TEST(ReceiveCommand, MayBeForMany) {
  EXPECT_FALSE(parsed<ReceiveOptions>({"receive", "--qmp", "/q", "--listen", "tcp://:1"}).keep);
  const auto kept =
      parsed<ReceiveOptions>({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--keep", "--at-once", "2"});
  EXPECT_TRUE(kept.keep);
  EXPECT_EQ(kept.at_once, 2U);
  const auto many = parsed<ReceiveOptions>({"receive", "--qmp-dir", "/run/vms", "--listen", "tcp://:1"});
  EXPECT_TRUE(many.keep);
  EXPECT_EQ(many.qmp_dir, "/run/vms");
  EXPECT_EQ(many.at_once, 4U);
  expect_contains(message({"receive", "--qmp-dir", "/d", "--qmp", "/q", "--listen", "tcp://:1"}), "give one of them");
  expect_contains(message({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--at-once", "2"}), "--keep");
  expect_contains(message({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--keep", "--timeout", "5s"}),
                  "--timeout");
  expect_contains(message({"receive", "--qmp-dir", "/d", "--listen", "tcp://:1", "--pid", "5"}), "--pid");
  expect_contains(message({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--keep", "--at-once", "65"}), "1 to 64");
}

TEST(TlsOptions, AreTheSameOnBothSides) {
  const auto send = parsed<SendOptions>(
      {"send", "--qmp", "/q", "--to", "tcp://b:1", "--tls-dir", "/pki", "--tls-hostname", "b.example"});
  EXPECT_EQ(send.tls.folder, "/pki");
  EXPECT_EQ(send.tls.hostname, "b.example");
  EXPECT_FALSE(send.tls.insecure_plain);
  const auto receive = parsed<ReceiveOptions>({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--tls-psk", "/key"});
  EXPECT_EQ(receive.tls.key_file, "/key");
  EXPECT_TRUE(parsed<ReceiveOptions>({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--insecure-plain"})
                  .tls.insecure_plain);
}

TEST(TlsOptions, SayOneWayOnly) {
  const auto refusal = [](std::vector<const char*> words) {
    words.insert(words.begin(), {"send", "--qmp", "/q", "--to", "tcp://b:1"});
    return message(std::move(words));
  };
  expect_contains(refusal({"--tls-dir", "/pki", "--insecure-plain"}), "give one of them");
  expect_contains(refusal({"--tls-dir", "/pki", "--tls-psk", "/key"}), "give one of them");
  expect_contains(refusal({"--tls-psk", "/key", "--tls-hostname", "b"}), "--tls-hostname: is for certificates");
  expect_contains(refusal({"--tls-dir", "/pki", "--tls-hostname", "b c"}), "--tls-hostname");
}

TEST(DeadlineOptions, SayWhatIsDoneWhen) {
  const auto goals = [](std::vector<const char*> words) {
    words.insert(words.begin(), {"send", "--qmp", "/q", "--to", "tcp://b:1"});
    return parsed<SendOptions>(std::move(words)).goals;
  };
  EXPECT_FALSE(goals({}).deadline.has_value());
  EXPECT_EQ(goals({}).guest_slowdown, 0);
  EXPECT_EQ(goals({"--deadline", "90s"}).on_deadline, OnDeadline::kCancel);
  EXPECT_EQ(goals({"--deadline", "90s", "--on-deadline", "pause"}).on_deadline, OnDeadline::kPause);
  EXPECT_TRUE(goals({"--on-deadline", "postcopy"}).may_postcopy());
  EXPECT_EQ(goals({"--on-deadline", "postcopy", "--lanes", "64"}).lanes, 63U) << "one connection is for urgent pages";
  EXPECT_DOUBLE_EQ(goals({"--guest-slowdown", "30%"}).guest_slowdown, 0.3);
  EXPECT_DOUBLE_EQ(goals({"--guest-slowdown", "30"}).guest_slowdown, 0.3);
}

TEST(DeadlineOptions, ThatContradictEachOtherAreRefused) {
  const auto refusal = [](std::vector<const char*> words) {
    words.insert(words.begin(), {"send", "--qmp", "/q", "--to", "ssh://b/q"});
    return message(std::move(words));
  };
  expect_contains(refusal({"--on-deadline", "pause"}), "say when, with --deadline");
  expect_contains(refusal({"--on-deadline", "later", "--deadline", "9s"}), "write cancel, pause or postcopy");
  expect_contains(refusal({"--deadline", "2h"}), "is after --timeout");
  expect_contains(refusal({"--on-deadline", "postcopy", "--ssh-data"}), "leave out --on-deadline postcopy");
  for (const char* bad : {"100%", "x", "-1", "30%%", ""})
    expect_contains(refusal({"--guest-slowdown", bad}), "--guest-slowdown");
}

TEST(Resume, IsForOneMoveOnBothSides) {
  EXPECT_TRUE(parsed<SendOptions>({"send", "--qmp", "/q", "--to", "tcp://b:1", "--resume"}).resume);
  EXPECT_FALSE(parsed<SendOptions>({"send", "--qmp", "/q", "--to", "tcp://b:1"}).resume);
  EXPECT_TRUE(parsed<ReceiveOptions>({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--resume"}).resume);
  EXPECT_TRUE(parsed<SendOptions>({"send", "--qmp", "/q", "--to", "ssh://b/q", "--resume"}).ssh->resume);
  expect_contains(message({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--resume", "--keep"}), "--resume");
  expect_contains(message({"send", "--qmp", "/q", "--to", "ssh://b/q", "--resume", "--ssh-data"}),
                  "leave out --resume");
}

TEST(SshDestination, IsReadWithAllThatStartsIt) {
  const auto plain = parsed<SendOptions>({"send", "--qmp", "/q", "--to", "ssh://root@host-b:22/run/b.qmp"});
  ASSERT_TRUE(plain.ssh.has_value());
  EXPECT_EQ(plain.ssh->target, (SshTarget{"root", "host-b", 22, "/run/b.qmp"}));
  EXPECT_EQ(plain.ssh->shell, std::vector<std::string>{"ssh"});
  EXPECT_EQ(plain.ssh->remote_godwit, std::vector<std::string>{"godwit"});
  EXPECT_FALSE(plain.ssh->via.has_value());
  const auto full = parsed<SendOptions>({"send", "--qmp", "/q", "--to", "ssh://host-b/run/b.qmp", "--rsh", "ssh -i key",
                                         "--remote-godwit", "sudo /opt/godwit", "--via", "10.0.0.2:4444"});
  ASSERT_TRUE(full.ssh.has_value());
  EXPECT_EQ(full.ssh->shell, (std::vector<std::string>{"ssh", "-i", "key"}));
  EXPECT_EQ(full.ssh->remote_godwit, (std::vector<std::string>{"sudo", "/opt/godwit"}));
  ASSERT_TRUE(full.ssh->via.has_value());
  EXPECT_EQ(format_address(*full.ssh->via), "tcp://10.0.0.2:4444");
  const auto far = parsed<ReceiveOptions>({"receive", "--over-ssh", "--qmp", "/q"});
  EXPECT_TRUE(far.over_ssh);
  EXPECT_TRUE(far.listen.host.empty());
}

TEST(SshDestination, TakesWhatIsForTheReceiverThere) {
  const auto plain = parsed<SendOptions>({"send", "--qmp", "/q", "--to", "ssh://host-b/q"});
  EXPECT_FALSE(plain.ssh->lenience.any_vm || plain.ssh->lenience.any_disks || plain.ssh->start_timeout);
  const auto full = parsed<SendOptions>(
      {"send", "--qmp", "/q", "--to", "ssh://host-b/q", "--any-vm", "--any-disks", "--start-timeout", "90s"});
  EXPECT_TRUE(full.ssh->lenience.any_vm && full.ssh->lenience.any_disks);
  EXPECT_EQ(full.ssh->start_timeout, 90s);
  for (const std::vector<const char*>& more :
       {std::vector{"--any-vm"}, std::vector{"--any-disks"}, std::vector{"--start-timeout", "90s"}}) {
    std::vector<const char*> send{"send", "--qmp", "/q", "--to", "tcp://host-b:4444"};
    send.insert(send.end(), more.begin(), more.end());
    expect_contains(message(send), "give them to the `godwit receive` that you have started");
  }
}

TEST(SshData, HasFewLanesAndContradictsOtherWays) {
  using Words = std::vector<const char*>;
  const auto with = [](Words more) {
    Words send{"send", "--qmp", "/q", "--to", "ssh://host-b/q", "--ssh-data"};
    send.insert(send.end(), more.begin(), more.end());
    return send;
  };
  const auto plain = parsed<SendOptions>(with({}));
  EXPECT_TRUE(plain.ssh->data);
  EXPECT_LE(plain.goals.lanes, 2U);
  EXPECT_EQ(plain.goals.most_lanes, 0U) << "ssh has opened as many as there are";
  EXPECT_EQ(parsed<SendOptions>(with({"--lanes", "8"})).goals.lanes, 8U);
  expect_contains(message(with({"--lanes", "9"})), "at most 8");
  expect_contains(message(with({"--via", "10.0.0.2"})), "give one of them");
  expect_contains(message({"send", "--qmp", "/q", "--to", "tcp://host-b:4444", "--ssh-data"}), "are for --to ssh://");
  EXPECT_TRUE(parsed<ReceiveOptions>({"receive", "--over-ssh", "--ssh-data", "--qmp", "/q"}).ssh_data);
  expect_contains(message({"receive", "--ssh-data", "--qmp", "/q", "--listen", "tcp://:1"}), "is for --over-ssh");
  EXPECT_EQ(parsed<RelayOptions>({"relay", "--socket", "/s"}).socket, "/s");
  expect_contains(message({"relay"}), "--socket");
}

TEST(SshDestination, TakesNoOtherTrustAndNoneOfItsOptionsElsewhere) {
  using Words = std::vector<const char*>;
  for (const Words& more :
       {Words{"--tls-dir", "/x"}, Words{"--tls-psk", "/x"}, Words{"--insecure-plain"}, Words{"--tls-hostname", "x"}}) {
    Words send{"send", "--qmp", "/q", "--to", "ssh://host-b/run/b.qmp"};
    send.insert(send.end(), more.begin(), more.end());
    expect_contains(message(send), "new key by ssh");
  }
  Words receive{"receive", "--qmp", "/q", "--over-ssh", "--insecure-plain"};
  expect_contains(message(receive), "key comes by standard input");
  for (const Words& more : {Words{"--rsh", "ssh"}, Words{"--remote-godwit", "x"}, Words{"--via", "10.0.0.2"}}) {
    Words send{"send", "--qmp", "/q", "--to", "tcp://host-b:4444"};
    send.insert(send.end(), more.begin(), more.end());
    expect_contains(message(send), "are for --to ssh://");
  }
  expect_contains(message({"send", "--qmp", "/q", "--to", "ssh://host-b"}), "the path is missing");
  expect_contains(message({"send", "--qmp", "/q", "--to", "ssh://host-b/q", "--via", "a b"}),
                  "write HOST or HOST:PORT");
  expect_contains(message({"send", "--qmp", "/q", "--to", "ssh://host-b/q", "--rsh", " "}), "not a command");
}

TEST(CommandLine, ReadsForecast) {
  const auto plain = parsed<ForecastOptions>({"forecast", "--qmp", "/q", "--bandwidth", "10Gbit"});
  EXPECT_EQ(plain.length, 5s);
  EXPECT_EQ(plain.goals.max_downtime, 50ms);
  EXPECT_EQ(plain.goals.timeout, 1h);
  EXPECT_EQ(plain.goals.lanes, default_lanes(kCpus));
  EXPECT_EQ(plain.goals.bandwidth->bits_per_second, 10'000'000'000u);
  EXPECT_TRUE(plain.skip_free_pages);
  EXPECT_FALSE(plain.json);
  const auto all = parsed<ForecastOptions>({"forecast",
                                            "--qmp",
                                            "/q",
                                            "--bandwidth",
                                            "1Gbit",
                                            "--seconds",
                                            "12",
                                            "--max-downtime",
                                            "1s",
                                            "--timeout",
                                            "2min",
                                            "--codec",
                                            "zstd:3",
                                            "--lanes",
                                            "3",
                                            "--encoding-threads",
                                            "2",
                                            "--json",
                                            "--free-pages",
                                            "send",
                                            "--allow-nested",
                                            "--devices",
                                            "stream"});
  EXPECT_EQ(all.length, 12s);
  EXPECT_EQ(all.goals.max_downtime, 1s);
  EXPECT_EQ(all.goals.timeout, 2min);
  EXPECT_EQ(all.goals.codec, (CodecChoice{CodecId::kZstd, 3}));
  EXPECT_EQ(all.goals.lanes, 3u);
  EXPECT_EQ(all.goals.encoding_threads, 2u);
  EXPECT_EQ(all.devices, DeviceWay::kStream);
  EXPECT_FALSE(all.skip_free_pages);
  EXPECT_TRUE(all.allow_nested);
  EXPECT_TRUE(all.json);
}

TEST(CommandLine, ForecastNeedsToKnowTheLink) {
  expect_contains(message({"forecast", "--bandwidth", "1Gbit"}), "forecast needs --qmp");
  expect_contains(message({"forecast", "--qmp", "/q"}), "forecast needs --to");
  expect_contains(message({"forecast", "--qmp", "/q", "--bandwidth", "1Gbit", "--to", "tcp://h:1"}), "give one");
  expect_contains(message({"forecast", "--qmp", "/q", "--to", "ssh://h/q"}), "--to");
  const auto measured = parsed<ForecastOptions>({"forecast", "--qmp", "/q", "--to", "tcp://h:1", "--insecure-plain"});
  EXPECT_TRUE(measured.to);
  EXPECT_TRUE(measured.tls.insecure_plain);
  EXPECT_FALSE(measured.goals.bandwidth);
  expect_contains(message({"forecast", "--qmp", "/q", "--bandwidth", "1Gbit", "--seconds", "0"}), "--seconds");
}

TEST(ProbeCommand, TakesDefaultsAndOptions) {
  EXPECT_EQ(parsed<ProbeOptions>({"probe"}).qmp, "");
  EXPECT_FALSE(parsed<ProbeOptions>({"probe"}).json);
  EXPECT_EQ(parsed<ProbeOptions>({"probe"}).log.file, "");
  const auto full = parsed<ProbeOptions>(
      {"probe", "--qmp", "/q", "--json", "--pid", "3", "--log-file", "/log", "--log-level", "debug"});
  EXPECT_EQ(full.log.file, "/log");
  EXPECT_EQ(full.log.level, LogLevel::kDebug);
  EXPECT_EQ(full.qmp, "/q");
  EXPECT_TRUE(full.json);
  EXPECT_EQ(full.pid, 3);
}

TEST(KeygenCommand, TakesHosts) {
  const auto plain = parsed<KeygenOptions>({"keygen", "--dir", "/ca", "--host", "host-a"});
  EXPECT_EQ(plain.folder, "/ca");
  EXPECT_EQ(plain.hosts, (std::vector<std::vector<std::string>>{{"host-a"}}));
  EXPECT_EQ(plain.days, 730U);
  EXPECT_EQ(plain.psk_file, "");
  EXPECT_EQ(plain.revoked_host, "");
  const auto two = parsed<KeygenOptions>(
      {"keygen", "--host", "host-a,10.0.0.1,fd00::1", "--dir", "/ca", "--days", "30", "--host=host-b.example,host-b"});
  EXPECT_EQ(two.hosts,
            (std::vector<std::vector<std::string>>{{"host-a", "10.0.0.1", "fd00::1"}, {"host-b.example", "host-b"}}));
  EXPECT_EQ(two.days, 30U);
}

TEST(KeygenCommand, TakesAHostToRevokeOrAFileForASharedKey) {
  const auto revoke = parsed<KeygenOptions>({"keygen", "--dir", "/ca", "--revoke", "host-a"});
  EXPECT_EQ(revoke.folder, "/ca");
  EXPECT_EQ(revoke.revoked_host, "host-a");
  EXPECT_TRUE(revoke.hosts.empty());
  const auto shared = parsed<KeygenOptions>({"keygen", "--psk", "/etc/key.psk"});
  EXPECT_EQ(shared.psk_file, "/etc/key.psk");
  EXPECT_EQ(shared.folder, "");
}

TEST(KeygenCommand, SaysWhatIsMissingOrTooMuch) {
  expect_contains(message({"keygen"}), "keygen needs --dir or --psk, e.g. --dir /root/godwit-ca");
  expect_contains(message({"keygen", "--host", "host-a"}), "keygen needs --dir, e.g.");
  expect_contains(message({"keygen", "--revoke", "host-a"}), "keygen needs --dir, e.g.");
  expect_contains(message({"keygen", "--dir", "/ca"}), "keygen --dir needs --host or --revoke, e.g. --host host-a");
  expect_contains(message({"keygen", "--dir", "/ca", "--days", "3"}), "needs --host or --revoke");
  const std::string alone = "--psk: makes a key in place of certificates";
  expect_contains(message({"keygen", "--psk", "/k", "--dir", "/ca"}), alone);
  expect_contains(message({"keygen", "--psk", "/k", "--host", "host-a"}), alone);
  expect_contains(message({"keygen", "--psk", "/k", "--days", "3"}), alone);
  expect_contains(message({"keygen", "--psk", "/k", "--revoke", "host-a"}), alone);
  expect_contains(message({"keygen", "--dir", "/ca", "--revoke", "a", "--host", "b"}), "--revoke: makes no");
  expect_contains(message({"keygen", "--dir", "/ca", "--revoke", "a", "--days", "3"}), "--revoke: makes no");
  expect_contains(message({"keygen", "--dir", "/ca", "--host", "a,b", "--host", "a,c"}),
                  "--host: 'a' given more than once");
  expect_contains(message({"keygen", "--dir", "/ca", "--host"}), "--host: missing value");
  expect_contains(message({"keygen", "--host", "--dir", "/ca"}), "--host: missing value");
  expect_contains(message({"keygen", "--dir", "/ca", "--host", "a", "b"}), "unknown argument 'b'");
  expect_contains(message({"keygen", "--dri", "/ca"}), "did you mean --dir?");
  expect_contains(message({"keygn"}), "did you mean keygen?");
}

TEST(KeygenCommand, RefusesValuesThatAreNotValid) {
  const auto with = [](const char* option, const char* text) {
    return message({"keygen", "--dir", "/ca", "--host", "host-a", option, text});
  };
  for (const char* text : {"", "a,", ",a", "a,,b", "a b", "../a", "300.1.1.1", "a:1"}) {
    EXPECT_TRUE(with("--host", text).starts_with("--host: invalid host name '")) << text;
  }
  expect_contains(with("--host", "b,10.0.0.256"), "'10.0.0.256'");
  for (const char* text : {"0", "3651", "2y", ""}) expect_contains(with("--days", text), "1 to 3650");
  expect_contains(message({"keygen", "--dir", "/ca", "--revoke", "../a"}), "--revoke: invalid host name '../a'");
  expect_contains(message({"keygen", "--dir", "", "--host", "a"}), "--dir: invalid value ''");
  expect_contains(message({"keygen", "--psk", ""}), "--psk: invalid value ''");
  expect_contains(message({"keygen", "--psk", "/k", "--psk", "/l"}), "--psk: given more than once");
}

TEST(CommandLine, NamesTheOptionItsTextAndWhatWouldDo) {
  struct Case {
    const char* option;
    const char* text;
    const char* would_do;
  };
  for (const Case& bad : {
           Case{"--max-downtime", "50", "50ms"},
           Case{"--max-downtime", "0ms", "1 ms to 10 min"},
           Case{"--max-downtime", "2h", "1 ms to 10 min"},
           Case{"--timeout", "soon", "50ms"},
           Case{"--timeout", "10ms", "1 s to 168 h"},
           Case{"--link-patience", "1h", "10 min"},
           Case{"--lanes", "0", "1 to 64"},
           Case{"--lanes", "65", "1 to 64"},
           Case{"--lanes", "2.5", "1 to 64"},
           Case{"--encoding-threads", "257", "0 to 256"},
           Case{"--encoding-threads", "-1", "0 to 256"},
           Case{"--lanes", "99999999999999999999", "1 to 64"},
           Case{"--bandwidth", "100Mb", "100Mbit"},
           Case{"--bandwidth", "1kbit", "1Mbit to 10Tbit"},
           Case{"--codec", "bzip2", "zstd"},
           Case{"--delta-memory", "lots", "--delta-memory"},
           Case{"--free-pages", "no", "skip or send"},
           Case{"--pid", "0", "1 to"},
           Case{"--pid", "qemu", "1 to"},
           Case{"--progress", "fancy", "auto, bar, json or none"},
           Case{"--to", "host-b", "tcp://"},
           Case{"--to", "tcp://host-b:0", "tcp://host-b:4444"},
           Case{"--report", "", "/tmp/report.json"},
           Case{"--qmp", "", "/run/vm1.qmp"},
       }) {
    std::vector<const char*> words{"send"};
    if (std::string_view(bad.option) != "--qmp") words.insert(words.end(), {"--qmp", "/q"});
    if (std::string_view(bad.option) != "--to") words.insert(words.end(), {"--to", "tcp://b:1"});
    words.insert(words.end(), {bad.option, bad.text});
    const std::string text = message(words);
    EXPECT_TRUE(text.starts_with(bad.option)) << text;
    expect_contains(text, bad.text);
    expect_contains(text, bad.would_do);
  }
}

TEST(CommandLine, RefusesASocketPathThatNoKernelTakes) {
  const std::string path = "/" + std::string(107, 'x');
  expect_contains(message({"receive", "--qmp", path.c_str(), "--listen", "tcp://:1"}), "at most 107 bytes");
}

TEST(CommandLine, SaysWhatIsMissing) {
  expect_contains(message({}), "send, receive, probe, forecast, control or keygen");
  expect_contains(message({"send"}), "send needs --qmp");
  expect_contains(message({"send", "--qmp", "/q"}), "send needs --to");
  expect_contains(message({"receive", "--qmp", "/q"}), "receive needs --listen");
  expect_contains(message({"receive", "--listen", "tcp://:1"}), "receive needs --qmp");
  expect_contains(message({"send", "--qmp", "/q", "--to"}), "--to: missing value");
  expect_contains(message({"send", "--lanes", "--qmp", "/q"}), "--lanes: missing value");
  expect_contains(message({"probe", "--pid", "3"}), "--pid");
}

TEST(CommandLine, SaysWhatIsNotKnownAndWhatWasMeant) {
  expect_contains(message({"migrate"}), "unknown command 'migrate'; see godwit --help");
  expect_contains(message({"recieve"}), "did you mean receive?");
  expect_contains(message({"send", "--qpm", "/q"}), "did you mean --qmp?");
  expect_contains(message({"send", "--downtime-of-guest=5ms"}), "see godwit send --help");
  expect_contains(message({"probe", "--jsn"}), "did you mean --json?");
  expect_contains(message({"receive", "--qmp", "/q", "--listen", "tcp://:1", "--lanes", "2"}), "'--lanes'");
  expect_contains(message({"send", "--qmp", "/q", "--qmp", "/r", "--to", "tcp://b:1"}), "--qmp: given more than once");
}

TEST(CommandLine, TakesWhatAMoveIsAskedForAsItIs) {
  const auto control =
      parsed<ControlOptions>({"control", "/run/vm1.control", "set", "max-downtime", "100ms", "--json"});
  EXPECT_EQ(control.socket, "/run/vm1.control");
  EXPECT_EQ(control.request.goal, "max-downtime");
  EXPECT_EQ(control.request.value, "100ms");
  EXPECT_TRUE(control.json);
  expect_contains(message({"control"}), "control needs the socket");
  expect_contains(message({"control", "/s"}), "control needs a command");
  expect_contains(message({"control", "/s", "stop"}), "unknown command 'stop'");
  expect_contains(message({"control", "/s", "set", "lanes", "3"}), "unknown goal 'lanes'");
}

TEST(CommandLine, KeepsAConnectionForPostcopyWhereItMayBeOrdered) {
  const auto send =
      parsed<SendOptions>({"send", "--qmp", "/q", "--to", "tcp://b:1", "--control", "/c", "--lanes", "64"});
  EXPECT_EQ(send.control, "/c");
  EXPECT_TRUE(send.goals.may_be_ordered);
  EXPECT_EQ(send.goals.lanes, 63U);
  const auto by_ssh =
      parsed<SendOptions>({"send", "--qmp", "/q", "--to", "ssh://b/q", "--ssh-data", "--control", "/c"});
  EXPECT_FALSE(by_ssh.goals.may_be_ordered);
}

TEST(CommandLine, OutagesAreWaitedForWhereConnectionsCanBeOpenedAgain) {
  const auto patience = [](std::vector<const char*> more) {
    std::vector<const char*> words{"send", "--qmp", "/q"};
    words.insert(words.end(), more.begin(), more.end());
    return parsed<SendOptions>(words).goals.link_patience;
  };
  EXPECT_EQ(patience({"--to", "tcp://b:1"}), 30s);
  EXPECT_EQ(patience({"--to", "ssh://b/q"}), 30s);
  EXPECT_EQ(patience({"--to", "tcp://b:1", "--link-patience", "2min"}), 2min);
  expect_contains(message({"send", "--qmp", "/q", "--to", "ssh://b/q", "--link-patience", "2min"}), "1 min");
  EXPECT_EQ(patience({"--to", "tcp://b:1", "--link-patience", "0s"}), 0s);
  EXPECT_EQ(patience({"--to", "unix:///s"}), 0s);
  EXPECT_EQ(patience({"--to", "unix:///s", "--link-patience", "0s"}), 0s);
  EXPECT_EQ(patience({"--to", "ssh://b/q", "--ssh-data"}), 0s);
  EXPECT_EQ(patience({"--to", "tcp://b:1", "--resume"}), 0s);
}

TEST(Help, IsCompleteAndFitsATerminal) {
  for (const std::vector<const char*>& words : {std::vector<const char*>{"--help"},
                                                {"send", "--help"},
                                                {"receive", "--help"},
                                                {"probe", "-h"},
                                                {"keygen", "-h"}}) {
    const std::string text = shown(words);
    expect_contains(text, kExitCodeHelp);
    expect_contains(text, "Example");
    std::istringstream lines(text);
    std::size_t count = 0;
    for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(line.size(), 110U) << line;
    EXPECT_LT(count, 56U) << text;
  }
  const std::string send = shown({"send", "--help"});
  for (const char* option : {"--qmp", "--to", "--max-downtime", "--bandwidth", "--codec", "--lanes", "--timeout",
                             "--free-pages", "--progress", "--report", "--pid"}) {
    expect_contains(send, option);
  }
  expect_contains(send, "[4]");
  EXPECT_EQ(send.find("--kernels"), std::string::npos);
}

TEST(Help, ExplainsEveryExitCode) {
  for (const Outcome outcome : {Outcome::kDone, Outcome::kSourceRuns, Outcome::kSourceStopped, Outcome::kInDoubt}) {
    expect_contains(std::string(kExitCodeHelp), "\n  " + std::to_string(to_int(exit_code_of(outcome))) + "  ");
  }
  expect_contains(std::string(kExitCodeHelp), "\n  2  ");
}

TEST(Version, IsTheOneOfTheBuild) {
  EXPECT_EQ(shown({"--version"}), std::string(kProgram) + "\n");
  std::ifstream file(std::filesystem::path(GODWIT_SOURCE_FOLDER) / "CMakeLists.txt");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const std::string program(kProgram);
  expect_contains(text, "VERSION " + program.substr(program.find(' ') + 1) + " ");
}

TEST(ExitCode, TellsTheOutcomesApart) {
  EXPECT_EQ(to_int(exit_code_of(Outcome::kDone)), 0);
  EXPECT_EQ(to_int(exit_code_of(Outcome::kSourceRuns)), 1);
  EXPECT_EQ(to_int(exit_code_of(Outcome::kInDoubt)), 3);
  EXPECT_EQ(to_int(exit_code_of(Outcome::kSourceStopped)), 4);
  EXPECT_EQ(to_int(ExitCode::kUsage), 2);
}

}  // namespace
}  // namespace godwit::command_line_test
