; A hook for every instruction while watchpoints are set (System V ABI). The access that one waits for is noticed in the middle
; of an instruction; the guest stops before the next one, and until then each instruction costs these two.
;
; efishim/machine/watchpoints.py has the same structure layout.

bits 64
org 0

%define HIT      0        ; 64 bit, not 0 from an access on
%define CALLBACK 8        ; the same arguments

; void hook(uc_engine *uc, uint64_t address, uint32_t size, State *state)
        cmp qword [rcx + HIT], 0
        jne seen
        ret
seen:
        jmp [rcx + CALLBACK]
