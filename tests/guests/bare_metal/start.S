// Where the guest begins, on the first CPU and on the others; nothing but getting to C.
//
// The first CPU comes from a multiboot loader in 32-bit protected mode. The others come from a start-up IPI in real mode
// at kTrampoline, where smp.c has copied the code between trampoline and trampoline_end.

#define STACK_SIZE 8192

    .section .multiboot, "a"
    .align 4
    .long 0x1BADB002            // magic
    .long 0x00000003            // page-aligned modules, memory information
    .long -(0x1BADB002 + 0x00000003)

    .section .text
    .code32
    .global _start
_start:
    cli
    cld
    movl $stacks + STACK_SIZE, %esp
    lgdt gdt_pointer
    ljmp $0x08, $1f
1:  movw $0x10, %cx
    movw %cx, %ds
    movw %cx, %es
    movw %cx, %fs
    movw %cx, %gs
    movw %cx, %ss
    pushl %ebx                  // multiboot information
    pushl %eax                  // multiboot magic
    call guest_main
2:  hlt
    jmp 2b

    .global trampoline, trampoline_end
    .code16
trampoline:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl 0x8000 + (trampoline_gdt_pointer - trampoline)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $secondary
    .align 4
trampoline_gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
trampoline_end:

    .code32
secondary:
    movw $0x10, %cx
    movw %cx, %ds
    movw %cx, %es
    movw %cx, %fs
    movw %cx, %gs
    movw %cx, %ss
    movl $1, %eax
    lock xaddl %eax, next_cpu
    cmpl $8, %eax               // GUEST_MAX_CPUS: more than there are stacks for
    jae 3f
    movl %eax, %ecx
    incl %ecx
    imull $STACK_SIZE, %ecx
    leal stacks(%ecx), %esp
    pushl %eax
    call secondary_main
3:  cli
    hlt
    jmp 3b

// The timer's interrupt only ends a hlt.
    .global timer_interrupt, spurious_interrupt
timer_interrupt:
    movl $0, 0xfee000b0         // end of interrupt, local APIC
spurious_interrupt:
    iret

    .section .data
    .align 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff    // 0x08: code, 4 GiB
    .quad 0x00cf92000000ffff    // 0x10: data, 4 GiB
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
    .global next_cpu
    .align 4
next_cpu:
    .long 1

    .section .bss
    .align 16
stacks:
    .skip 8 * STACK_SIZE

    .section .note.GNU-stack, "", @progbits
