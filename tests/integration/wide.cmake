# What ./check runs, but not ./check --quick: other versions of QEMU, kinds of RAM and moments of what stays in the quick
# check at one or two of them. Patterns of GoogleTest.
set(wide_tests
    # Post-copy: a shared and a private guest stay.
    On/Postcopy.LosesNoWord/File On/Postcopy.LosesNoWord/Private On/Postcopy.LosesNoWord/PrivateByTheStream
    On/Postcopy.LosesNoWord/FourCpus On/Postcopy.LosesNoWord/Memfd10 On/Postcopy.LosesNoWord/HugePages
    After/PostcopyResumed.LosesNoWord/SinkKilledHuge
    Of/PostcopyBrokenOffAhead.LeavesAQemuThatTakesInTheNextGuest/Private10
    # Under KVM, where there is one, a private guest and one by the stream stay.
    On/Exactness.HoldsThereAndBack/KvmFile On/Exactness.HoldsThereAndBack/KvmGoverned
    # Outages of the link: a private guest with a key that rides one out, and a shared one that is left, stay.
    Of/LinkPatience.AnOutageIsRiddenOut/memfd Of/LinkPatience.ALinkThatStaysAwayLeavesTheGuestAtTheSource/private
    Of/LinkPatience.ALinkThatStaysAwayLeavesTheGuestAtTheSource/certificates
    Of/LinkPatience.ASourceThatIsInterruptedMeanwhileEndsAtOnce/private
    Of/LinkPatience.ASourceThatIsInterruptedMeanwhileEndsAtOnce/memfd
    Of/LinkPatience.WhyTheDestinationGaveUpMeanwhileIsToldOnceTheLinkIsBack/certificates
    Of/LinkPatience.WhyTheDestinationGaveUpMeanwhileIsToldOnceTheLinkIsBack/memfd
    # Accelerators: each fails in one way.
    Devices/MovedWithADevice.TheGuestArrivesThoughTheDeviceVanishes/Iaa
    Devices/MovedWithADevice.TheGuestArrivesThoughItAnswersInAnyOrderAndFailsAtTimes/Qat
    # A Linux guest that checks its memory is moved by the demo, too.
    On/LinuxExactness.*
    LargeVm.Of80CpusAnd72RamBlocksMoves Qemu/MachineFit.OtherMachinesAreRefusedByName/v10_0
    On/FreePagesOf.*/TwoNodes* FreePages.OfAGuestThatWasResetAreNotFound
    # The source is killed at each milestone.
    At/KilledSource.*/connected At/KilledSource.*/tracking At/KilledSource.*/mapped At/KilledSource.*/fenced
    At/SettingsOfTheKilled.*/source_stopped_10_0_by_stream At/SettingsOfTheKilled.*/source_handing_over_7_2_by_stream
    At/StoodStill.ASinkThatHasFallenSilentIsNotCommitted/devices_sent
    # A real sshd; without one, remote_shell_test has most of it.
    At/SshCutBefore.*/attached At/SshCutBefore.*/connected At/SshCutBefore.*/stopped
    At/SshCutAfter.*/prepared At/SshCutAfter.*/resumed
    At/SshCtrlC.*/attached At/SshCtrlC.*/stopped At/SshDataFarKilled.*/loaded
    SshData.GoesWhereNothingButSshDoes SshData.GoesPastTheSessionsOfOneLogin SshData.GoesByLoginsOfItsOwn
    SshDataCut.AfterTheCommitLeavesTheGuestThere
    # QEMU 10.0 stays.
    Qemu/MachineFit.*/v7_2 Versions/ConfinedQemu.*/V7 Of/LifeCycle.*/v7_2 Qemu/SilentDestination.*/v7_2
    Qemu/StaleJournal.*/v7_2
    Qemu/RefusedStart.AGuestIsKeptWhereTheSourceIsLostMeanwhile/v7_2
    Qemu/RefusedStart.ALockThatIsHeldForEverSendsTheGuestBack/v7_2 Of/VideoMemory.ThatFits*/v7_2
    Of/Changes.*/snapshot_7_2 Of/Changes.*/mirror_10_0)
list(JOIN wide_tests ":" wide_tests)
