#include "remote/ssh_target.h"

#include <gtest/gtest.h>
#include <stdio.h>

#include <cstdio>
#include <memory>

namespace godwit::ssh_target_test {
namespace {

SshTarget parsed(std::string_view text) {
  auto target = parse_ssh_target(text);
  EXPECT_TRUE(target.has_value()) << text << ": " << (target ? "" : target.error().message);
  return target.value_or(SshTarget{});
}

TEST(SshTarget, IsReadInAllItsForms) {
  EXPECT_EQ(parsed("ssh://host-b/run/vm1.qmp"), (SshTarget{"", "host-b", 0, "/run/vm1.qmp"}));
  EXPECT_EQ(parsed("ssh://root@host-b:2222/run/vm1.qmp"), (SshTarget{"root", "host-b", 2222, "/run/vm1.qmp"}));
  EXPECT_EQ(parsed("ssh://[fd00::2]/q"), (SshTarget{"", "fd00::2", 0, "/q"}));
  EXPECT_EQ(parsed("ssh://me@[fd00::2]:22/q"), (SshTarget{"me", "fd00::2", 22, "/q"}));
  EXPECT_EQ(parsed("ssh://me@corp@192.0.2.2/a b/it's"), (SshTarget{"me@corp", "192.0.2.2", 0, "/a b/it's"}));
}

TEST(SshTarget, ThatIsNotOneIsRefusedInOneSentence) {
  for (const std::string& text : std::vector<std::string>{"ssh://",
                                                          "ssh://host-b",
                                                          "ssh:///run/q",
                                                          "ssh://host-b/",
                                                          "ssh://host-b/run/",
                                                          "ssh://@host-b/q",
                                                          "ssh://-oProxyCommand=x/q",
                                                          "ssh://-l@host-b/q",
                                                          "ssh://a b@host-b/q",
                                                          "ssh://host-b:/q",
                                                          "ssh://host-b:0/q",
                                                          "ssh://host-b:70000/q",
                                                          "ssh://host b/q",
                                                          "ssh://fd00::2/q",
                                                          "ssh://[fd00::2/q",
                                                          "ssh://host-b/q\n",
                                                          "ssh://host-b/q\x1b[2J",
                                                          "ssh://host;id/q",
                                                          "ssh://$(id)/q",
                                                          "tcp://host-b:1",
                                                          "ssh://host-b/" + std::string(200, 'x'),
                                                          "ssh://" + std::string(300, 'x') + "/q"}) {
    const auto target = parse_ssh_target(text);
    ASSERT_FALSE(target.has_value()) << text;
    EXPECT_EQ(target.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_NE(target.error().message.find("write ssh://"), std::string::npos) << target.error().message;
  }
}

TEST(DataAddress, MayLeaveOutThePort) {
  EXPECT_EQ(format_address(parse_data_address("10.0.0.2").value()), "tcp://10.0.0.2:0");
  EXPECT_EQ(format_address(parse_data_address("host-b:4444").value()), "tcp://host-b:4444");
  EXPECT_EQ(format_address(parse_data_address("fd00::2").value()), "tcp://[fd00::2]:0");
  EXPECT_EQ(format_address(parse_data_address("[fd00::2]").value()), "tcp://[fd00::2]:0");
  EXPECT_EQ(format_address(parse_data_address("[fd00::2]:4444").value()), "tcp://[fd00::2]:4444");
  for (const char* text : {"", ":4444", "host b", "host-b:x", "tcp://host-b"}) {
    EXPECT_FALSE(parse_data_address(text).has_value()) << text;
  }
}

std::string said_by_shell(const std::string& line) {
  const std::unique_ptr<FILE, int (*)(FILE*)> shell(::popen(line.c_str(), "r"), ::pclose);
  std::string text;
  for (int c = std::fgetc(shell.get()); c != EOF; c = std::fgetc(shell.get())) text += static_cast<char>(c);
  return text;
}

TEST(QuotedForShell, IsReadByAShellAsItWas) {
  for (const char* word : {"plain", "/run/vm1.qmp", "", "a b", "it's", "$(id) `id` $HOME", "a;b|c&d>e", "*", "\\", "\"",
                           "''", "!x", "~", "#", "=x", "-n"}) {
    const std::string quoted = quoted_for_shell(word);
    EXPECT_EQ(said_by_shell("printf %s. -- " + quoted), std::string("--.") + word + ".") << quoted;
  }
  EXPECT_EQ(quoted_for_shell("/run/vm1.qmp"), "/run/vm1.qmp");
}

TEST(RemoteCommand, HasWhatSshNeedsAndNoMore) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(remote_command({"ssh"}, parsed("ssh://root@host-b:22/q"), {"godwit", "receive", "--qmp", "/a b"}),
            (Words{"ssh", "-T", "-p", "22", "root@host-b", "godwit receive --qmp '/a b'"}));
  EXPECT_EQ(remote_command({"/usr/bin/ssh", "-i", "key"}, parsed("ssh://host-b/q"), {"godwit"}),
            (Words{"/usr/bin/ssh", "-i", "key", "-T", "host-b", "godwit"}));
  EXPECT_EQ(remote_command({"rsh"}, parsed("ssh://host-b/q"), {"godwit"}), (Words{"rsh", "host-b", "godwit"}));
  EXPECT_EQ(remote_command({"ssh", "-q"}, parsed("ssh://host-b/q"), {"x"}, SharedLogin{"/a%b/s", true}),
            (Words{"ssh", "-q", "-T", "-o", "ControlMaster=yes", "-o", "ControlPath=/a%%b/s", "-o", "ControlPersist=no",
                   "host-b", "x"}));
  EXPECT_EQ(remote_command({"ssh"}, parsed("ssh://host-b/q"), {"x"}, SharedLogin{"/s", false}),
            (Words{"ssh", "-T", "-o", "ControlMaster=no", "-o", "ControlPath=/s", "host-b", "x"}));
  EXPECT_EQ(remote_command({"rsh"}, parsed("ssh://host-b/q"), {"x"}, SharedLogin{"/s", true}),
            (Words{"rsh", "host-b", "x"}));
  EXPECT_EQ(words_of("  ssh  -i key ").value(), (Words{"ssh", "-i", "key"}));
  EXPECT_FALSE(words_of("  ").has_value());
}

}  // namespace
}  // namespace godwit::ssh_target_test
