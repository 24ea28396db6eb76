/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handover of docs/handover.md as a model for spin: one VM, one job, and whatever can be lost.
 *
 * The records are durable, everything else goes with the process that holds it. A message is delivered,
 * late, or never, and so is its answer. The coordinator may end at any point, the destination's agent too
 * (and is started again), and either QEMU.
 *
 * Checked: no state in which both guests run; and when everybody has come to rest and both hosts answer,
 * `reconcile` has brought about exactly one owner, which runs unless its QEMU is gone.
 *
 * With POSTCOPY it is the order of postcopy, and the job of a coordinator that has ended is taken up by the next agent of the
 * source, which may end as well. Each mistake that can be made is built in by a macro, so that
 * tests/model/check can see that the model finds it:
 *   RESUME_ON_SILENCE   the source runs again when the destination does not answer
 *   START_BEFORE_END    the destination gets its right before the source's QEMU is `completed`
 *   NO_LOCK             the record is not locked between the look at it and the start
 *   CONT_BEFORE_RECORD  the destination runs the guest first and writes STARTED then
 *   ASK_WITHOUT_REFUSAL a question that finds no record leaves it undecided, and is taken for a no
 *   REFUSE_WHILE_ALIVE  REFUSED is written while a `cont` that was not answered may still do its work
 *   HEIR_RESUMES_ON_SILENCE  who takes a job up in postcopy lets the source run when the destination does not answer
 */

#define CRASHES 2 /* of the destination's agent */
#define HEIRS 2   /* of the coordinator */

mtype = { NONE, RELEASED, STARTED, REFUSED, ASK };

/* durable */
mtype released = NONE; /* on the source */
mtype started = NONE;  /* on the destination */

/* the two QEMUs */
bool source_runs = true, source_is_there = true, source_completed = false;
bool target_runs = false, target_is_there = true, target_is_loaded = false;
bool cont_is_late = false; /* QEMU has not answered it yet */

/* the processes */
byte locked_by = 0; /* the destination's record: 0 nobody, else a process */
bool job_dies = false, job_is_over = false, is_closed = false, faults_are_over = false;
byte heirs = 0, heirs_at_work = 0;
byte crashes = 0; /* of the agent, which then is another one */
byte busy = 0;    /* of its two connections */

/* to the destination's agent and back: over the job's connection, and over a new one */
chan to_start = [1] of { mtype };
chan started_said = [1] of { mtype };
chan to_settle = [1] of { mtype };
chan settled_said = [1] of { mtype };

#define RUN_SOURCE() atomic { if :: source_is_there -> source_runs = true :: else fi }
#define RUN_TARGET() atomic { if :: target_is_there -> target_runs = true :: else fi }
#define END_SOURCE() atomic { source_runs = false; source_is_there = false }
#define END_TARGET() atomic { target_runs = false; target_is_there = false }
/* lost, or there; one that is there may be read much later */
#define SEND(to, what) if :: nfull (to) -> to ! what :: skip fi

#ifdef NO_LOCK
#define LOCK() skip
#else
#define LOCK() atomic { locked_by == 0 -> locked_by = _pid }
#endif
#define UNLOCK() atomic { if :: locked_by == _pid -> locked_by = 0 :: else fi }

/* --- the destination's agent --------------------------------------------------------------------------- */

inline refuse ()
{
#ifdef REFUSE_WHILE_ALIVE
    started = REFUSED;
    UNLOCK ();
    END_TARGET ()
#else
    END_TARGET ();
    started = REFUSED
#endif
}

/* STARTED, then `cont`; what is taken back was seen by nobody. */
inline start ()
{
    mtype found = started;
    if
#ifdef POSTCOPY
    /* by an agent before this one, which may have ended before its `cont` */
    :: found == STARTED -> RUN_TARGET ()
    :: found == REFUSED -> END_TARGET ()
#else
    :: found != NONE -> END_TARGET ()
#endif
    :: found == NONE && target_is_there && !target_is_loaded ->
#ifdef POSTCOPY
        skip /* not yet: nothing is decided */
#else
        refuse ()
#endif
    :: found == NONE && !target_is_there -> refuse ()
    :: found == NONE && target_is_there && target_is_loaded ->
#ifdef CONT_BEFORE_RECORD
        RUN_TARGET ();
        started = STARTED
#else
        started = STARTED;
        if
        :: RUN_TARGET ()
        :: refuse () /* QEMU says no */
        :: cont_is_late = true; refuse () /* or nothing */
        fi
#endif
    fi
}

inline settle ()
{
    if
#ifndef ASK_WITHOUT_REFUSAL
    :: started == NONE -> started = REFUSED
#endif
    :: else
    fi
}

/* One connection. The agent's end is the end of both, and of the lock. */
proctype Agent (byte life; chan asked; chan said; bool is_job)
{
    mtype what;
    {
end:    do
        :: atomic { asked ? what -> busy++ };
            LOCK ();
            if
            :: is_job -> start ()
            :: !is_job -> settle ()
            fi;
            UNLOCK ();
            if
            :: started == STARTED -> SEND (said, STARTED)
            :: started == REFUSED -> SEND (said, REFUSED)
            :: started == NONE ->
#ifdef ASK_WITHOUT_REFUSAL
                SEND (said, REFUSED)
#else
                skip
#endif
            fi;
            busy--
        od
    } unless { crashes != life }
}

#define RUN_AGENT() \
    run Agent (crashes, to_start, started_said, true); run Agent (crashes, to_settle, settled_said, false)

/* --- the coordinator ------------------------------------------------------------------------------------- */

/* Whoever asks waits only so long: NONE is silence. */
inline hear (said)
{
    if
    :: said ? answer
    :: answer = NONE
    fi
}

inline release ()
{
    if
    :: released = RELEASED
    :: skip /* lost; it counts as written */
    fi
}

proctype Job ()
{
    mtype answer = NONE;
    {
        source_runs = false;
#ifdef POSTCOPY
        if
        :: skip
        :: goto back
        fi;
        release ();
        if
        :: released == NONE -> goto ask
        :: else
        fi;
        if
        :: target_is_loaded = true
        :: END_TARGET () /* its stream ended before the devices were complete */
        :: skip /* not yet */
        fi;
#else
#ifdef START_BEFORE_END
        target_is_loaded = true;
#else
        if
        :: atomic { !source_runs -> source_completed = true; target_is_loaded = true }
        :: goto back /* the migration failed, or the user aborted */
        fi;
#endif
        release ();
        if
        :: released == NONE -> goto ask
        :: else
        fi;
#endif
        SEND (to_start, ASK);
        hear (started_said);
        if
        :: answer == STARTED -> goto moved
        :: answer == REFUSED -> goto back
        :: answer == NONE
        fi;
ask:    SEND (to_settle, ASK);
        hear (settled_said);
        if
        :: answer == STARTED -> goto moved
        :: answer == REFUSED -> goto back
#ifdef RESUME_ON_SILENCE
        :: answer == NONE -> goto back
#else
        :: answer == NONE -> goto over /* undecided */
#endif
        fi;
moved:  END_SOURCE ();
        is_closed = true;
        goto over;
back:   RUN_SOURCE ();
        is_closed = true;
over:   skip
    } unless { job_dies };
    job_is_over = true
}

/* The next agent of the source: the job is RELEASED, and nobody works on it. It asks for the start again, and what the
 * records say when that has no answer. */
proctype Heir ()
{
    mtype answer = NONE;
    if
    :: is_closed -> goto over
    :: !is_closed
    fi;
    if
    :: target_is_loaded = true
    :: skip
    fi;
    SEND (to_start, ASK);
    hear (started_said);
    if
    :: answer == STARTED -> goto moved
    :: answer == REFUSED -> goto back
    :: answer == NONE
    :: goto over /* it has ended, too */
    fi;
    SEND (to_settle, ASK);
    hear (settled_said);
    if
    :: answer == STARTED -> goto moved
    :: answer == REFUSED -> goto back
#ifdef HEIR_RESUMES_ON_SILENCE
    :: answer == NONE -> goto back
#else
    :: answer == NONE -> goto over
#endif
    fi;
moved:
    END_SOURCE ();
    is_closed = true;
    goto over;
back:
    RUN_SOURCE ();
    is_closed = true;
over:
    heirs_at_work--
}

/* --- what happens by itself ---------------------------------------------------------------------------------- */

proctype Faults ()
{
    do
    :: atomic { crashes < CRASHES -> crashes++; locked_by = 0; busy = 0; RUN_AGENT () }
    :: atomic { cont_is_late && target_is_there && target_is_loaded -> target_runs = true; cont_is_late = false }
    :: END_SOURCE ()
    :: END_TARGET ()
    :: job_dies = true
#ifdef POSTCOPY
    :: atomic { job_is_over && heirs_at_work == 0 && heirs < HEIRS && released == RELEASED && source_is_there ->
                heirs++; heirs_at_work++; run Heir () }
#else
    /* until it is `completed`, QEMU lets its guest run again when its connection fails; a guest that was
     * stopped by `stop`, as in postcopy, it does not */
    :: atomic { !source_completed && !source_runs && source_is_there -> source_runs = true }
#endif
    :: break
    od;
    faults_are_over = true
}

/* --- afterwards ------------------------------------------------------------------------------------------------ */

/* Both hosts answer, and no job is under way: what the records say is done. */
inline reconcile ()
{
    LOCK ();
    if
    :: started == NONE -> started = REFUSED
    :: else
    fi;
    UNLOCK ();
    if
    :: started == STARTED -> END_SOURCE (); RUN_TARGET ()
    :: started == REFUSED -> END_TARGET (); RUN_SOURCE ()
    fi
}

active proctype Monitor ()
{
    assert (!(source_runs && target_runs))
}

init
{
    atomic { RUN_AGENT (); run Job (); run Faults () };
    job_is_over && faults_are_over && heirs_at_work == 0;
    reconcile ();
    empty (to_start) && empty (to_settle) && busy == 0; /* messages that came late were read */
    assert (started == STARTED || started == REFUSED);
    assert (started != STARTED || (!source_runs && (target_runs || !target_is_there)));
    assert (started != REFUSED || (!target_runs && (source_runs || !source_is_there)))
}
