//! The design with one context for each process: a tree of anon_vmas as processes forked, whose members are the VMAs of
//! one process.

use super::anon_vma::AnonVma;
use super::arena::Ix;
use super::machine::Machine;
use super::process::Process;
use super::vma::Vma;

/// Where a context is in the tree. Children are in the order of their forks.
#[derive(Clone, Copy, Default)]
pub(in crate::rmap) struct Family {
    first_child: Option<Ix<AnonVma>>,
    last_child: Option<Ix<AnonVma>>,
    before: Option<Ix<AnonVma>>,
    after: Option<Ix<AnonVma>>,
}

impl Machine {
    /// The context of a process, if it has one.
    pub(in crate::rmap) fn context(&self, process: Ix<Process>) -> Option<Ix<AnonVma>> {
        self.processes[process].context.and_then(|context| self.anon_vmas.find(context))
    }

    /// Makes the context of a process: a root, or a child of the one that its parent has.
    fn new_context(&mut self, process: Ix<Process>, parent: Option<Ix<AnonVma>>) -> Ix<AnonVma> {
        let new = self.new_anon_vma(parent);
        self.processes[process].context = Some(self.anon_vmas.id(new));
        if let Some(parent) = parent {
            let before = self.anon_vmas[parent].family.last_child.replace(new);
            self.anon_vmas[new].family.before = before;
            match before {
                Some(before) => self.anon_vmas[before].family.after = Some(new),
                None => self.anon_vmas[parent].family.first_child = Some(new),
            }
        }
        new
    }

    /// The context that a VMA is to be a member of: its process's, which is made if there is none, below one of the process
    /// that forked it.
    pub(in crate::rmap) fn context_for(&mut self, vma: Ix<Vma>, parent: Option<Ix<AnonVma>>) -> Ix<AnonVma> {
        let process = self.vmas[vma].process;
        let Some(context) = self.context(process) else { return self.new_context(process, parent) };
        let AnonVma { members, references, .. } = &mut self.anon_vmas[context];
        *references += u32::from(*members == 0);
        context
    }

    /// Drops a reference to a context: that of its members, or of a child. With the last it is gone, and so are those above
    /// it that nobody needs any more.
    pub(in crate::rmap) fn let_go_of_context(&mut self, context: Ix<AnonVma>) {
        let mut next = Some(context);
        while let Some(context) = next {
            let AnonVma { parent, family, .. } = self.anon_vmas[context];
            let parent = self.anon_vmas.find(parent).filter(|&parent| parent != context);
            if !self.let_go(context) {
                break;
            }
            let Some(parent) = parent else { break };
            match family.before {
                Some(before) => self.anon_vmas[before].family.after = family.after,
                None => self.anon_vmas[parent].family.first_child = family.after,
            }
            match family.after {
                Some(after) => self.anon_vmas[after].family.before = family.before,
                None => self.anon_vmas[parent].family.last_child = family.before,
            }
            self.anon_vmas[parent].children -= 1;
            next = Some(parent);
        }
    }

    /// A context and all that descend from it, each before its children.
    pub(in crate::rmap) fn descendants(&self, top: Ix<AnonVma>) -> impl Iterator<Item = Ix<AnonVma>> {
        std::iter::successors(Some(top), move |&context| {
            let child = self.anon_vmas[context].family.first_child;
            child.or_else(|| {
                let mut up = std::iter::successors(Some(context), |&context| self.above(context));
                up.by_ref()
                    .take_while(|&context| context != top)
                    .find_map(|context| self.anon_vmas[context].family.after)
            })
        })
    }

    /// Whether a context is another one, or descends from it.
    pub(in crate::rmap) fn descends(&self, context: Ix<AnonVma>, from: Ix<AnonVma>) -> bool {
        let mut up = std::iter::successors(Some(context), |&context| self.above(context));
        up.any(|context| context == from)
    }

    fn above(&self, context: Ix<AnonVma>) -> Option<Ix<AnonVma>> {
        self.anon_vmas.find(self.anon_vmas[context].parent).filter(|&parent| parent != context)
    }
}
